"""The whole loop offline: a model is served, annotates what another one says, judges it, and a reward model learns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the server needs Starlette: pip install -e '.[web]'")
pytest.importorskip("uvicorn", reason="the server needs Uvicorn: pip install -e '.[web]'")

from collect import collect
from evaluate import evaluate
from rlhf.config import ServeConfig
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.evaluation.judges.rubric import SIDES
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy
from rlhf.rollout.sampling import Completion
from rlhf.runs import Summary
from rlhf.runs.parents import from_given
from train import train
from verbs.serve import app
from verbs.serve.app import Served
from verbs.serve.chat_request import ChatRequest
from verbs.serve.serve import load_served

pytestmark = pytest.mark.ci

SIZES = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 2048, "initializer_range": 0.1}
"""The judge's instructions have some 800 tokens of the tiny vocabulary."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A random model. It writes no JSON, so what it drew is put into words: an even sum of tokens is «A», and so on."""
    tiny = load_tokenizer("tiny")
    export(load_policy(None, SIZES, tiny, seed=7), tiny, tmp_path / "judge")
    config = ServeConfig()
    config.strategy.threads = 1
    right = app._completion

    def in_words(
        served: Served, asked: ChatRequest, tokens: Sequence[int], drawn: Sequence[Completion]
    ) -> dict[str, Any]:
        found = right(served, asked, tokens, drawn)
        for choice, completion in zip(found["choices"], drawn, strict=True):
            total = sum(completion.tokens)
            marks = {side: (total + place) % 11 for place, side in enumerate(SIDES)}
            choice["message"]["content"] = json.dumps({"better": "AB"[total % 2], **marks})
        return found

    monkeypatch.setattr(app, "_completion", in_words)
    return load_served(config, from_given("model.init", str(tmp_path / "judge")))


def test_serve_annotate_judge_and_learn(
    served: Served, serving: Callable[[Served], AbstractContextManager[str]], models: Path, program_folder: Path
) -> None:
    with serving(served) as url:
        go_round(f"{url}/v1", served.name, models)
    assert served.batches.answered > 40


def go_round(url: str, name: str, models: Path) -> None:
    """Label, judge and learn, each by the program itself, in the present folder."""
    prompts = [f"Tell me about {thing}." for thing in ("rain", "tea", "Rome", "birds", "time", "fire", "salt", "art")]
    Path("prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    own = "data=jsonl data.path=prompts.txt data.val_fraction=0"
    quick = "rollout.max_new_tokens=6 strategy.threads=1"

    def asks(section: str) -> str:
        asked = f"{section}.url={url} {section}.model={name} {section}.temperature=1"
        # With a seed, its verdicts are the same in every run of this test.
        return f"{asked} {section}.max_tokens=16 {section}.backoff=0 {section}.extra={{seed:1}}"

    line = f"{own} data.test_fraction=0 {quick} model.init={models}/a collect.samples=3 hydra.run.dir=labels"
    assert collect.main(f"{line} collect.annotator=endpoint {asks('collect.endpoint')}".split()) == 0
    final = Summary.read(Path("labels")).final
    assert final["rankings"] == 8 and final["pairs"] > 0 and final["annotator_failed"] == final["unread_pairs"] == 0
    assert 0 < final["inconsistent"] < 1, "its verdicts are drawn"
    records = [json.loads(text) for text in Path("labels/preferences.jsonl").read_text("utf-8").splitlines()]
    assert {record["annotator"] for record in records} == {name}

    line = f"{own} data.test_fraction=0.8 {quick} models.sft={models}/a models.base={models}/b hydra.run.dir=judged"
    more = (
        "evaluation.judge=endpoint evaluation.prompts=4 evaluation.best_of=1 evaluation.texts=0 evaluation.guide=false"
    )
    assert evaluate.main(f"{line} {more} {asks('evaluation.endpoint')}".split()) == 0
    found = json.loads(Path("judged/evaluation.json").read_text(encoding="utf-8"))
    assert found["judge_details"]["model"] == name and found["win_rates"]["sft>base"]["n"] > 0
    assert found["models"]["sft"]["score"] is not None

    line = "algo=reward model=tiny model.init=random data=jsonl data.path=labels/preferences.jsonl logger=csv"
    assert train.main(f"{line} train.max_steps=1 strategy.threads=1 hydra.run.dir=rm".split()) == 0
    assert Summary.read(Path("rm")).steps == 1
