"""`evaluate.py` with other judges than the gold one: an endpoint, an ensemble, a reward model alone, a benchmark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import SECRET, ChatServer

from rlhf.data.assistant.questions import questions
from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.evaluation.answers import Answer
from rlhf.evaluation.judges.rubric import SIDES, Compared
from rlhf.evaluation.outcome import Contestant, Evaluation, Replies
from rlhf.runs import Summary
from verbs.evaluate.judging import beside_gold

pytestmark = pytest.mark.ci


@pytest.fixture
def main(main_evaluate: Callable[[str], int]) -> Callable[[str], int]:
    """The program in an empty folder."""
    return main_evaluate


def result(folder: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "evaluation.json").read_text(encoding="utf-8"))
    return found


def asks(server: ChatServer) -> str:
    return (
        f"evaluation.judge=endpoint evaluation.endpoint.url={server.url} evaluation.endpoint.model=small "
        "evaluation.endpoint.key_env=JUDGE_KEY evaluation.endpoint.backoff=0 evaluation.guide=false"
    )


def test_an_endpoint_judges(main: Callable[[str], int], server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Marks, comparisons in both orders, the cost beforehand; the same command asks nothing again."""
    line = f"models.base={{b}} models.sft={{a}} evaluation.reward_model={{r}} evaluation.best_of=3 {asks(server)}"
    prices = "evaluation.endpoint.price_in=1 evaluation.endpoint.price_out=2"
    server.faults = [503, 500, "malformed"]
    assert main(f"{line} {prices}") == 0
    found, said = result(), capsys.readouterr()
    for model in found["models"].values():
        assert all(0 <= model[side] <= 10 for side in SIDES) and model["harmlessness"] == 10
        assert model["score"] <= model["honesty"] == 7.5 and model["false_refusals"] is None
    assert set(found["win_rates"]) == {"sft>base", "best-of-3>sft"}
    assert all(rate["by"] == "comparisons" and rate["n"] == 12 for rate in found["win_rates"].values())
    details = found["judge_details"]
    assert details["position_bias"]["consistent"] == 1, "this judge looks at length alone"
    assert details["unreadable"] == 0 and details["calls"]["retries"] == 3
    assert details["cost"] == pytest.approx(
        details["calls"]["tokens_in"] / 1e6 + 2 * details["calls"]["tokens_out"] / 1e6
    )
    told = re.search(
        r"judge small at \S+: (\d+) calls \(0 more are answered already\), about .* by the prices", said.out
    )
    assert told is not None and int(told[1]) == len(server.requests) - 3

    lines = [json.loads(text) for text in Path("out", "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["category"] for line in lines} <= {"answerable", "harmful", "unknowable"}
    for row in lines:
        texts = [row["answers"][name]["response"] for name in ("sft", "base")]
        shorter = (len(texts[0] or "(nothing)") < len(texts[1] or "(nothing)")) - (
            len(texts[0] or "(nothing)") > len(texts[1] or "(nothing)")
        )
        assert row["comparisons"]["sft>base"]["outcome"] == 0.5 + shorter / 2
        assert row["answers"]["sft"]["verdict"]["reason"] == "so"
    assert "Each pair was read in both orders" in Path("out", "report.md").read_text(encoding="utf-8")

    before = len(server.requests)
    assert main(f"{line} hydra.run.dir=again") == 0
    again = result("again")
    assert len(server.requests) == before and again["judge_details"]["calls"]["cached"] > 0
    assert again["win_rates"] == found["win_rates"] and again["models"] == found["models"]
    files = [file for file in Path().rglob("*") if file.is_file()]
    assert any("cache" in str(file) for file in files)
    assert not any(SECRET.encode() in file.read_bytes() for file in files)
    assert SECRET not in said.out + said.err + capsys.readouterr().out


def test_a_judgement_that_was_cut_off_goes_on(
    main: Callable[[str], int], server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"models.base={{b}} models.sft={{a}} {asks(server)} evaluation.endpoint.concurrency=1 "
    line += "evaluation.endpoint.retries=0 evaluation.endpoint.mode=pairs evaluation.texts=0"
    right = server.reply
    told: list[str] = []

    def reply(content: str) -> str:
        told.append(content)
        if len(told) == 6:
            server.always = 503
        return right(content)

    server.reply = reply
    assert main(line) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("evaluation.endpoint.url: ") and "failed 3 calls in a row" in error and "\n" not in error
    assert SECRET not in error and not Path("out", "evaluation.json").exists()
    server.always, before = None, len(server.requests)
    assert main(f"{line} hydra.run.dir=again") == 0
    calls = result("again")["judge_details"]["calls"]
    assert calls["cached"] == 6 and calls["calls"] == len(server.requests) - before
    assert result("again")["models"]["sft"]["score"] is None, "pairs alone"


REFUSED = [
    ("evaluation.endpoint.key_env=sk-123", "evaluation.endpoint.key_env: is not the name of an environment"),
    ("evaluation.endpoint.key_env=NOBODY_SET_THIS", "evaluation.endpoint.key_env: the environment variable NOBODY"),
    ("evaluation.endpoint.url=http://me:sk-123@host/v1", "evaluation.endpoint.url: must not hold a name, a password"),
    ("evaluation.endpoint.url=localhost", "evaluation.endpoint.url: can't be read"),
    ("evaluation.endpoint.url=null", "evaluation.endpoint.url: missing; evaluation.judge=endpoint needs"),
    ("evaluation.endpoint.model=null", "evaluation.endpoint.model: missing"),
    (
        "evaluation.endpoint.url=http://127.0.0.1:9/v1",
        "evaluation.endpoint.url: http://127.0.0.1:9/v1 can't be",
    ),
    ("evaluation.endpoint.max_cost=1", "evaluation.endpoint.max_cost: needs evaluation.endpoint.price_in"),
    ("evaluation.endpoint.prompts=nowhere", "evaluation.endpoint.prompts: nowhere is not a folder"),
    ("evaluation.endpoint.mode=both_ways", "evaluation.endpoint.mode: 'both_ways' is not one of both | scores | pairs"),
    ("evaluation.judge=ensemble", "evaluation.judge: ensemble needs members"),
    ("evaluation.ensemble=[{r}]", "evaluation.ensemble: has one member"),
    ("evaluation.ensemble=[{r},{r}]", "evaluation.ensemble: a member"),
    ("evaluation.ensemble=[{r},{q}] evaluation.judge=reward", "evaluation.judge: reward is a single model"),
    ("evaluation.ensemble=[{r},{q}] evaluation.reward_model={r}", "evaluation.reward_model: {r} "),
    ("evaluation.ensemble=[{r},{b}]", "evaluation.ensemble.1: {b} is not a reward model"),
    ("evaluation.text=nowhere.txt", "evaluation.text: nowhere.txt does not exist"),
    ("evaluation.reward_bench=nowhere.jsonl", "evaluation.reward_bench: nowhere.jsonl does not exist"),
    (
        "evaluation.reward_bench=bad.jsonl evaluation.reward_model={r}",
        "evaluation.reward_bench: bad.jsonl:1: compar",
    ),
    (
        "evaluation.harness=[arc_easy]",
        "evaluation.harness: arc_easy need lm-evaluation-harness, which is not",
    ),
]


@pytest.mark.parametrize(("line", "sentence"), REFUSED, ids=[line for line, _ in REFUSED])
def test_refusals(
    main: Callable[[str], int],
    models: Path,
    server: ChatServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    sentence: str,
) -> None:
    from rlhf.config.rules import evaluation as evaluation_rules

    monkeypatch.setattr(evaluation_rules, "find_spec", lambda name: None)
    Path("bad.jsonl").write_text('{"prompt": "Why?"}\n')
    # A later value of the same key would be refused as a second one.
    keys = [item.split("=")[0] for item in line.split()]
    common = [item for item in asks(server).split() if item.split("=")[0] not in keys]
    if "evaluation.ensemble" in line or "reward_bench=bad" in line:
        common = ["evaluation.guide=false"]
    assert main(" ".join(["models.sft={a}", *common, line])) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(sentence.format(**{path.name: path for path in models.iterdir()}))
    assert "\n" not in told and "sk-123" not in told and not server.requests


def test_a_cost_that_is_too_high(
    main: Callable[[str], int], server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = "evaluation.endpoint.price_out=1000 evaluation.endpoint.max_cost=0.5 evaluation.texts=0"
    assert main(f"models.sft={{a}} {asks(server)} {limits}") == 2
    error = capsys.readouterr().err
    assert "evaluation.endpoint.max_cost: 0.5" in error and " 3." in error
    assert not server.requests


def test_an_ensemble_judges(main: Callable[[str], int]) -> None:
    line = (
        "models.base={b} models.sft={a} evaluation.ensemble=[{r},{q}] evaluation.judge=ensemble evaluation.guide=false"
    )
    assert main(line) == 0
    found = result()
    assert found["judge"] == "ensemble" and found["models"]["sft"]["score"] == found["models"]["sft"]["reward"]
    assert 0 <= found["win_rates"]["sft>base"]["agreement"] <= 1
    rewards = found["reward_model"]
    assert set(rewards["members"]) == {"r", "q"} and 0 <= rewards["agreement"]["unanimous"] <= 1
    assert set(rewards["slices"]) == {"category", "length", "source", "topic"}
    assert sum(a["n"] for a in rewards["slices"]["category"].values()) == rewards["n"]
    assert found["best_of_n"]["reward"] > found["models"]["sft"]["reward"]
    page = Path("out", "report.md").read_text(encoding="utf-8")
    for part in (
        "### By category",
        "### By length",
        "### Calibration",
        "### Members of the ensemble",
        "Two members see",
    ):
        assert part in page
    assert main(f"{line} evaluation.combine=min hydra.run.dir=stern") == 0
    assert result("stern")["models"]["sft"]["score"] < found["models"]["sft"]["score"]


def test_a_reward_model_alone(main: Callable[[str], int], tmp_path: Path) -> None:
    """No policy is needed to measure a reward model: on the task's candidates, and on a file as RewardBench has it."""
    subsets = ["hep-go", "math-prm", "donotanswer", "mine"]
    pairs = [
        {"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": f"no {i} no", "subset": subsets[i % 4], "id": i}
        for i in range(20)
    ]
    Path("bench.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    assert main("evaluation.reward_model={r} evaluation.reward_bench=bench.jsonl") == 0
    found = result()
    assert found["models"] == found["win_rates"] == {} and found["reward_model"]["n"] == 12
    assert set(found["reward_model"]["slices"]["source"]) == {"candidates"}
    bench = found["reward_bench"]
    assert (bench["n"], bench["pairs"]) == (20, 20)
    assert {name: a["n"] for name, a in bench["slices"]["subset"].items()} == dict.fromkeys(subsets, 5)
    assert set(bench["sections"]) == {"Safety", "Reasoning"}
    assert list(bench["slices"]["length"]) == ["worse_is_longer"] and bench["length_bias"]["labels_prefer_longer"] == 0
    page = Path("out", "report.md").read_text(encoding="utf-8")
    assert page.startswith("# Reward model\n") and "### By subset" in page and "| Safety |" in page


def test_ones_own_text(main: Callable[[str], int]) -> None:
    """In the place of the data's own, and part of what the evaluation is known by."""
    found = []
    for number, text in enumerate(("The quick brown fox jumps over the lazy dog.\n" * 20, "Another text.")):
        Path("text.txt").write_text(text)
        line = "models.sft={a} evaluation.guide=false evaluation.prompts=2 evaluation.text=text.txt"
        assert main(f"{line} hydra.run.dir={number}") == 0
        found.append((result(str(number))["models"]["sft"], Summary.read(Path(str(number))).id))
    (first, one), (second, two) = found
    assert first["bits_per_byte"] != second["bits_per_byte"] and first["perplexity"] > 1 and one != two


def test_slices_of_ones_own_comparisons(main: Callable[[str], int]) -> None:
    lines = [
        {"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": "no", "category": ("odd", "even")[i % 2], "source": "me"}
        for i in range(60)
    ]
    Path("own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = "data=jsonl data.path=own.jsonl data.test_fraction=0.3 evaluation.guide=false"
    assert main(f"{own} models.sft={{a}} evaluation.reward_model={{r}} evaluation.best_of=1") == 0
    slices = result()["reward_model"]["slices"]
    assert set(slices["category"]) == {"odd", "even"} and set(slices["source"]) == {"me"}
    rows = [json.loads(text) for text in Path("out", "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["category"] for row in rows} == {"odd", "even"}


def test_beside_the_gold_judge() -> None:
    """Where gold sees a winner: once the same, once the other one, once a tie; where it sees none, nothing counts."""
    question = next(q for q in questions() if q.topic == "fact")
    prompt, right = Prompt.of(question.text), question.right[0]
    replies = {
        name: Replies([Answer(text, Row((1,), ((3,),)), -1.0, True) for text in texts])
        for name, texts in {"sft": ["?", "?", "?", right], "ppo": [right] * 4}.items()
    }
    models = {name: Contestant(name, mine, Replies([])) for name, mine in replies.items()}
    evaluation = Evaluation([prompt] * 4, [], models, "endpoint", "sft")
    won, lost = Compared("first", "second"), Compared("second", "first")
    evaluation.comparisons = {"ppo>sft": [won, lost, Compared("first", "first"), won]}
    beside_gold(evaluation)
    assert evaluation.judge_details["gold"] == {"agree": 0.5, "n": 3}
