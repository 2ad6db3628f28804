"""A finished comparison, and the forms in which it is read: `evaluation.json`, `answers.jsonl`, tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rlhf.data.records import Prompt
from rlhf.evaluation.answers import Answer
from rlhf.evaluation.judges.details import JudgeDetails
from rlhf.evaluation.judges.rubric import Compared
from rlhf.evaluation.judges.scorers import Mark
from rlhf.evaluation.metrics import distinct, mean, mean_score, sides
from rlhf.evaluation.reward_model.bench import sections
from rlhf.evaluation.reward_model.best_of import BestOf
from rlhf.evaluation.reward_model.preferences import Agreement, best_of_bound
from rlhf.evaluation.winrates import WinRate, all_pairs, of_outcomes, win_rate

COLUMNS = {
    "score": "{:.2f}",
    "helpfulness": "{:.2f}",
    "harmlessness": "{:.2f}",
    "honesty": "{:.2f}",
    "false_refusals": "{:.1%}",
    "reward": "{:.2f}",
    "kl": "{:.2f}",
    "length": "{:.1f}",
    "distinct_2": "{:.3f}",
    "bits_per_byte": "{:.3f}",
    "perplexity": "{:.2f}",
}
"""What the headline table shows of a model, and how."""


@dataclass
class Replies:
    """Answers to a list of prompts, one each, with what judge and reward model say; those lists are empty without."""

    answers: list[Answer]
    marks: list[Mark | None] = field(default_factory=list)
    rewards: list[float | None] = field(default_factory=list)

    def metrics(self) -> dict[str, float | None]:
        """Means over the prompts; `None` for what was not judged."""
        return {
            "score": mean_score(self.marks),
            **sides(self.marks),
            "reward": mean(self.rewards),
            "length": mean(float(answer.length) for answer in self.answers),
            "distinct_2": distinct((answer.text for answer in self.answers), 2),
        }

    def record(self, i: int) -> dict[str, Any]:
        """One answer, as in `answers.jsonl`."""
        answer, mark = self.answers[i], self.marks[i] if self.marks else None
        verdict = mark.verdict if mark is not None else None
        return {
            "response": answer.text,
            "tokens": answer.length,
            "finished": answer.finished,
            "score": None if mark is None else rounded(mark.score),
            "reward": rounded(self.rewards[i]) if self.rewards else None,
            "verdict": None if verdict is None else asdict(verdict),
        }


@dataclass
class Contestant:
    """One model of the comparison.

    Attributes:
        run: the directory or name that it was loaded from.
        replies: to the held-out prompts. guide: to the guide's prompts.
        kl: nats per response to the reference model, k1; `None` where it can't be measured.
        bits_per_byte, perplexity: on held-out text; the perplexity is per token of the model's own tokenizer.
    """

    run: str
    replies: Replies
    guide: Replies
    kl: float | None = None
    bits_per_byte: float | None = None
    perplexity: float | None = None

    def metrics(self) -> dict[str, float | None]:
        """Everything that is measured of it, by name."""
        found = self.replies.metrics()
        tail = {name: found.pop(name) for name in ("length", "distinct_2")}
        text = {"bits_per_byte": self.bits_per_byte, "perplexity": self.perplexity}
        return found | {"kl": self.kl} | tail | text


@dataclass
class Evaluation:
    """Models side by side, in the order in which they were given.

    Attributes:
        facts: what was compared and how, as label and sentence.
        judge: gold, reward, ensemble, endpoint or none. judge_details: what else there is to know of it; `not_finite`:
            answers to which the reward model gave NaN or infinity, which are left out with their pairs.
        reference: the model from which KL is measured and best-of-n drawn.
        best: the best of `best_n` samples of the reference by the reward model; `None` without one.
        comparisons: by pair (`ppo>sft`), what a judge that reads says of both answers to each prompt.
        categories: of the prompts; empty if unknown.
        reward_bench: the reward model on a file of pairs by subset. harness: model → task → metric → value.
        tracks: gold and proxy score against √KL, a record of `gold_against_kl.Track` each.
        rounds: of training, from the model that they began with on, see `rlhf.evaluation.rounds`.
        best_curve: for fewer samples, see `best_of_curve`; empty if the judge is too expensive to mark them all.
    """

    prompts: list[Prompt]
    guide: list[Prompt]
    models: dict[str, Contestant]
    judge: str
    reference: str
    facts: dict[str, str] = field(default_factory=dict)
    reward_model: Agreement | None = None
    best: Replies | None = None
    best_n: int = 1
    comparisons: dict[str, list[Compared | None]] = field(default_factory=dict)
    judge_details: JudgeDetails = field(default_factory=JudgeDetails)
    categories: list[str] = field(default_factory=list)
    reward_bench: Agreement | None = None
    harness: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    best_curve: list[BestOf] = field(default_factory=list)
    tracks: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def best_name(self) -> str:
        return f"best-of-{self.best_n}"

    @property
    def contestants(self) -> dict[str, Replies]:
        """Everything that answered the held-out prompts: the models, and best-of-n last."""
        found = {name: model.replies for name, model in self.models.items()}
        return found | ({self.best_name: self.best} if self.best is not None else {})

    def all_replies(self) -> list[tuple[list[Prompt], Replies]]:
        """Everything that was answered, with its prompts."""
        found = [(self.prompts, replies) for replies in self.contestants.values()]
        return found + [(self.guide, model.guide) for model in self.models.values()]

    def win_rates(self) -> dict[str, WinRate]:
        """Win rates of every later model over every earlier one, and of best-of-n over one sample of the same model.

        Where a judge has read both answers side by side, that decides; elsewhere the marks do.
        """
        found = all_pairs({name: model.replies.marks for name, model in self.models.items()})
        if self.best is not None:
            over = win_rate(self.best.marks, self.models[self.reference].replies.marks)
            found |= {f"{self.best_name}>{self.reference}": over} if over is not None else {}
        for pair, compared in self.comparisons.items():
            rate = of_outcomes([None if c is None else c.outcome for c in compared])
            found |= {pair: rate} if rate is not None else {}
        return found

    def record(self) -> dict[str, Any]:
        """The content of `evaluation.json`; `None` becomes `null`: there is no judge, or nothing to measure."""
        best: dict[str, Any] | None = None
        if self.best is not None:
            metrics = self.best.metrics()
            best = {"n": self.best_n, "model": self.reference, **metrics, "kl_bound": best_of_bound(self.best_n)}
            best |= {"curve": self.best_curve} if self.best_curve else {}
        record = {
            "models": {
                name: {"run": model.run, **model.metrics(), "n": len(self.prompts)}
                for name, model in self.models.items()
            },
            "win_rates": {pair: rate.record() for pair, rate in self.win_rates().items()},
            "reward_model": self.reward_model.record() if self.reward_model is not None else None,
            "best_of_n": best,
            "judge": self.judge,
            "reference": self.reference,
            "judge_details": self.judge_details,
            "reward_bench": bench_record(self.reward_bench) if self.reward_bench is not None else None,
            "harness": self.harness,
            "facts": self.facts,
        } | ({"overoptimisation": self.tracks} if self.tracks else {})
        record |= {"rounds": self.rounds} if self.rounds else {}
        return rounded(record)

    def final(self) -> dict[str, float]:
        """The same numbers, flat, for `summary.json`: `ppo/score`, `ppo>sft`, `reward_model/accuracy`."""
        record = self.record()
        sections = dict(record["models"])
        if record["best_of_n"] is not None:
            sections[self.best_name] = {k: v for k, v in record["best_of_n"].items() if k not in ("n", "curve")}
        if record["reward_model"] is not None:
            sections["reward_model"] = record["reward_model"]
        flat = {f"{section}/{name}": value for section, values in sections.items() for name, value in values.items()}
        flat |= {pair: rate["rate"] for pair, rate in record["win_rates"].items()}
        if record["reward_bench"] is not None:
            flat["reward_bench/accuracy"] = record["reward_bench"]["accuracy"]
        for model, tasks in record["harness"].items():
            flat |= {f"{model}/{task}/{name}": v for task, values in tasks.items() for name, v in values.items()}
        return {name: value for name, value in flat.items() if isinstance(value, int | float)}

    def lines(self) -> Iterator[str]:
        """`answers.jsonl`: a prompt a line, with every answer to it."""
        for i, prompt in enumerate(self.prompts):
            line: dict[str, Any] = {"prompt": [list(turn) for turn in prompt.turns]}
            if self.categories:
                line["category"] = self.categories[i]
            line["answers"] = {name: replies.record(i) for name, replies in self.contestants.items()}
            if self.comparisons:
                line["comparisons"] = {pair: compared_record(mine[i]) for pair, mine in self.comparisons.items()}
            yield json.dumps(line, ensure_ascii=False)

    def headline(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the main table; columns without any number are left out."""
        rows: dict[str, Mapping[str, float | None]] = {name: model.metrics() for name, model in self.models.items()}
        if self.best is not None:
            rows[self.best_name] = self.best.metrics()
        shown = [name for name in COLUMNS if any(row.get(name) is not None for row in rows.values())]
        if self.judge in ("reward", "ensemble"):
            shown.remove("reward")  # it is the score
        body = [[name, *(number(row.get(column), COLUMNS[column]) for column in shown)] for name, row in rows.items()]
        if self.best is not None and "kl" in shown:
            body[-1][1 + shown.index("kl")] = f"≤ {best_of_bound(self.best_n):.2f}"
        return ["model", *(name.replace("_", " ") for name in shown)], body

    def win_table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the win rates."""
        return ["pair", "win rate", "95%", "won", "tied", "lost", "prompts", "sign test p"], [
            [
                pair,
                f"{r.rate:.1%}",
                f"{r.low:.1%} to {r.high:.1%}",
                *map(str, (r.wins, r.ties, r.losses, r.n)),
                f"{r.sign.p:.2g}",
            ]
            for pair, r in self.win_rates().items()
        ]

    def reward_sentence(self) -> str | None:
        """The reward model's accuracy beside the best possible one."""
        if self.reward_model is None:
            return None
        found = self.reward_model
        best = f"; the best possible on these noisy labels is {found.ceiling:.1%}" if found.ceiling is not None else ""
        return f"{found.accuracy:.1%} (95%: {found.low:.1%} to {found.high:.1%}, {found.n} prompts){best}"


def compared_record(compared: Compared | None) -> dict[str, Any] | None:
    """The entry of `answers.jsonl`: 1 where the first of the pair won, and which place was better in each order."""
    if compared is None:
        return None
    places = {"mine_first": compared.first, "mine_second": compared.second}
    return {"outcome": compared.outcome, **places, "equal": compared.equal, "reasons": list(compared.reasons)}


def bench_record(found: Agreement) -> dict[str, Any]:
    """The record of a reward model, with RewardBench's sections where its subsets are present."""
    return {**found.record(), "sections": sections(found.slices.get("subset", {}))}


def number(value: float | None, form: str) -> str:
    """A number to be read by people."""
    if value is None:
        return "–"
    shown = form.format(value)
    return shown.removeprefix("-") if not shown.strip("-0.%") else shown


def rounded(value: Any) -> Any:
    """The same content with floats of six decimals."""
    if isinstance(value, float):
        return round(value, 6) + 0.0  # no -0.0
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
