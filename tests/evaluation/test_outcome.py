"""A comparison by hand, in all its forms."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rlhf.data.assistant import Verdict
from rlhf.data.records import Prompt
from rlhf.evaluation.answers import Answer
from rlhf.evaluation.judges.rubric import Compared, position_bias
from rlhf.evaluation.judges.scorers import Mark
from rlhf.evaluation.markdown import quoted, report
from rlhf.evaluation.outcome import Contestant, Evaluation, Replies, number
from rlhf.evaluation.reward_model.preferences import Agreement

MODEL_KEYS = {
    "run", "helpfulness", "harmlessness", "honesty", "false_refusals", "kl", "length", "distinct_2", "bits_per_byte",
    "score", "reward", "n", "perplexity",
}  # fmt: skip
"""DESIGN's names, and what was added to them."""


def marked(*scores: float) -> list[Mark | None]:
    """The first prompt can be answered, the second should be refused."""
    kinds = ("answerable", "harmful")
    return [Mark(s, Verdict(s, s, 10.0, kind, "t")) for s, kind in zip(scores, kinds, strict=True)]


@pytest.fixture
def evaluation(make_answer: Callable[..., Answer]) -> Evaluation:
    """Two models, two prompts, all there is."""
    guide = Replies([make_answer("No *idea*.", 4)], [None], [0.25])
    sft = Replies([make_answer("a b", 3), make_answer("a b", 5)], marked(4, 6), [0.5, 1.5])
    ppo = Replies([make_answer("c d e", 2), make_answer("", 1, finished=False)], marked(9, 6), [2, 0])
    return Evaluation(
        prompts=[Prompt.of("Why?"), Prompt((("system", "Be kind."), ("user", "How to <harm>?")))],
        guide=[Prompt.of("Write a poem.")],
        models={
            "sft": Contestant("runs/sft", sft, guide, kl=0.0, bits_per_byte=1.25, perplexity=8.0),
            "ppo": Contestant("runs/ppo", ppo, guide, kl=3.5, bits_per_byte=1.5, perplexity=9.5),
        },
        judge="gold",
        reference="sft",
        facts={"prompts": "two"},
        reward_model=Agreement(0.8, 0.7, 0.9, 50, 0.88),
        best=Replies([make_answer("x y", 3), make_answer("x z", 3)], marked(5, 6), [3.0, 4.0]),
        best_n=16,
    )


@pytest.fixture
def unjudged(evaluation: Evaluation) -> Evaluation:
    """The same without judge and reward model."""
    evaluation.judge, evaluation.reward_model, evaluation.best = "none", None, None
    for model in evaluation.models.values():
        for replies in (model.replies, model.guide):
            replies.marks, replies.rewards = [], []
    return evaluation


def test_the_record_has_the_keys_of_the_contract(evaluation: Evaluation) -> None:
    record = json.loads(json.dumps(evaluation.record()))
    assert list(record)[:6] == ["models", "win_rates", "reward_model", "best_of_n", "judge", "reference"]
    assert set(record) == {*list(record)[:6], "judge_details", "reward_bench", "harness", "facts"}
    assert list(record["models"]) == ["sft", "ppo"]
    assert all(set(model) == MODEL_KEYS for model in record["models"].values())
    sft = record["models"]["sft"]
    assert (sft["run"], sft["n"], sft["score"], sft["helpfulness"], sft["harmlessness"]) == ("runs/sft", 2, 5, 4, 6)
    assert (sft["honesty"], sft["false_refusals"], sft["reward"], sft["kl"]) == (None, 0, 1, 0)
    assert (sft["length"], sft["distinct_2"], sft["bits_per_byte"]) == (4, 0.5, 1.25)
    assert record["models"]["ppo"]["kl"] == 3.5
    assert set(record["win_rates"]) == {"ppo>sft", "best-of-16>sft"}
    over = record["win_rates"]["ppo>sft"]
    assert set(over) == {"rate", "low", "high", "n", "ties", "wins", "losses", "by", "agreement", "sign_test"}
    assert over["sign_test"] == {"rate": 1.0, "low": 0.025, "high": 1.0, "p": 1.0, "n": 1}
    assert (over["rate"], over["n"], over["wins"], over["ties"], over["losses"]) == (0.75, 2, 1, 1, 0)
    assert record["win_rates"]["best-of-16>sft"]["rate"] == 0.75
    contract = {"accuracy": 0.8, "low": 0.7, "high": 0.9, "n": 50, "ceiling": 0.88}
    assert record["reward_model"].items() >= contract.items()
    best = record["best_of_n"]
    assert (best["n"], best["model"], best["score"], best["reward"]) == (16, "sft", 5.5, 3.5)
    assert best["kl_bound"] == pytest.approx(1.835089)


def test_no_number_is_minus_zero(evaluation: Evaluation) -> None:
    evaluation.models["sft"].kl = -1e-9
    assert str(evaluation.record()["models"]["sft"]["kl"]) == "0.0"


def test_where_there_is_no_judge_there_is_null(unjudged: Evaluation) -> None:
    record = unjudged.record()
    assert record["win_rates"] == {} and record["reward_model"] is None and record["best_of_n"] is None
    for model in record["models"].values():
        nothing = {name for name, value in model.items() if value is None}
        assert nothing == {"score", "reward", "helpfulness", "harmlessness", "honesty", "false_refusals"}
    assert unjudged.headline()[0] == ["model", "kl", "length", "distinct 2", "bits per byte", "perplexity"]
    page = report(unjudged, 2)
    assert "Win rates" not in page and "Reward model" not in page and "Best of" not in page
    assert all(json.loads(line)["answers"]["ppo"]["verdict"] is None for line in unjudged.lines())


def test_the_summary_has_no_null(unjudged: Evaluation) -> None:
    names = ("kl", "length", "distinct_2", "bits_per_byte", "perplexity", "n")
    assert set(unjudged.final()) == {f"{model}/{name}" for model in ("sft", "ppo") for name in names}


def test_the_summary_names_what_gates_ask_for(evaluation: Evaluation) -> None:
    final = evaluation.final()
    assert (final["ppo/score"], final["ppo>sft"], final["reward_model/accuracy"]) == (7.5, 0.75, 0.8)
    assert (final["best-of-16/score"], final["best-of-16>sft"], final["reward_model/ceiling"]) == (5.5, 0.75, 0.88)
    assert "sft/honesty" not in final and "best-of-16/n" not in final
    assert all(isinstance(value, int | float) for value in final.values())


def test_every_prompt_is_a_line_with_every_answer(evaluation: Evaluation) -> None:
    first, second = (json.loads(line) for line in evaluation.lines())
    assert first["prompt"] == [["user", "Why?"]] and second["prompt"][0] == ["system", "Be kind."]
    assert list(first["answers"]) == ["sft", "ppo", "best-of-16"]
    ppo = second["answers"]["ppo"]
    assert (ppo["response"], ppo["tokens"], ppo["finished"], ppo["score"], ppo["reward"]) == ("", 1, False, 6, 0)
    assert (ppo["verdict"]["kind"], ppo["verdict"]["helpfulness"]) == ("harmful", 6)


def test_the_tables(evaluation: Evaluation) -> None:
    header, rows = evaluation.headline()
    assert header[:3] == ["model", "score", "helpfulness"]
    assert "honesty" not in header, "nobody has a number for it"
    assert [row[0] for row in rows] == ["sft", "ppo", "best-of-16"]
    assert [row[header.index("kl")] for row in rows] == ["0.00", "3.50", "≤ 1.84"]
    assert evaluation.win_table()[1][0] == ["ppo>sft", "75.0%", "50.0% to 100.0%", "1", "1", "0", "2", "1"]
    evaluation.judge = "reward"
    assert "reward" not in evaluation.headline()[0]


def test_the_page(evaluation: Evaluation) -> None:
    page = report(evaluation, shown=1)
    order = [
        *("# sft · ppo", "- prompts: two", "## Models", "| ppo | 7.50 |"),
        *("## Win rates", "| ppo>sft | 75.0% |"),
        *("## Reward model", "80.0% (95%: 70.0% to 90.0%, 50 prompts)", "on these noisy labels is 88.0%"),
        *("## Best of 16", "1.84 nats, a bound"),
        *("## Answers", "> Why?", "**ppo** · 9 · reward 2.00", "> c d e"),
        *("## The guide's prompts", "> Write a poem.", "**sft** · reward 0.25", "> No \\*idea\\*."),
    ]
    places = [page.find(part) for part in order]
    assert -1 not in places and places == sorted(places)
    assert "How to" not in page, "one prompt is shown"
    both = report(evaluation, shown=2)
    assert "> user: How to \\<harm\\>?" in both and "**ppo** · 6 · reward 0.00 · cut off\n\n> (nothing)" in both


def test_text_of_models_is_no_markup() -> None:
    assert quoted("# a\n\n`b` | c_d") == "> \\# a\n>\n> \\`b\\` \\| c\\_d"


NUMBERS = [
    (None, "{:.2f}", "–"),
    (-0.001, "{:.2f}", "0.00"),
    (-0.01, "{:.2f}", "-0.01"),
    (-0.0001, "{:.1%}", "0.0%"),
    (1.005, "{:.1%}", "100.5%"),
]


@pytest.mark.parametrize(("value", "form", "shown"), NUMBERS)
def test_numbers_to_be_read(value: float | None, form: str, shown: str) -> None:
    assert number(value, form) == shown


def test_a_judge_that_has_read_both_answers_decides(evaluation: Evaluation) -> None:
    """Marks say 0.75; side by side, ppo lost once and once won by its place alone."""
    lost = Compared("second", "first", ("worse", "better"))
    evaluation.comparisons = {"ppo>sft": [lost, Compared("first", "first", ("A", "A"))]}
    evaluation.judge, evaluation.categories = "endpoint", ["answerable", "harmful"]
    rate = evaluation.record()["win_rates"]["ppo>sft"]
    assert (rate["rate"], rate["wins"], rate["ties"], rate["losses"], rate["by"]) == (0.25, 0, 1, 1, "comparisons")
    assert evaluation.record()["win_rates"]["best-of-16>sft"]["by"] == "scores"
    first, second = (json.loads(line) for line in evaluation.lines())
    assert first["comparisons"]["ppo>sft"] == {
        "outcome": 0.0, "mine_first": "second", "mine_second": "first", "equal": False, "reasons": ["worse", "better"]
    }  # fmt: skip
    assert (first["category"], second["category"]) == ("answerable", "harmful")
    evaluation.judge_details = {
        "unreadable": 3,
        "calls": {"calls": 1200, "cached": 7, "failed": 1, "refused": 1},
        "position_bias": position_bias(evaluation.comparisons["ppo>sft"]),
        "gold": {"agree": 0.5, "n": 2},
    }
    page = report(evaluation, 0)
    assert "the same one wins, or both tie, in 50.0%; the first place wins both times in 50.0%" in page
    assert "1,200 calls and 7 cached answers; 2 failed or were refused, 3 could not be read" in page
    assert "this one sees the same in 50.0% (2 pairs" in page


def test_tasks_of_the_harness(evaluation: Evaluation) -> None:
    evaluation.harness = {"sft": {"arc": {"acc": 0.5, "acc_stderr": 0.01}}, "ppo": {"arc": {"acc": 0.25}}}
    assert "| arc acc | 0.5000 ± 0.0196 | 0.2500 |" in report(evaluation, 0)
    assert evaluation.final()["sft/arc/acc"] == 0.5
