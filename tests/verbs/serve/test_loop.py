"""The whole loop offline: a model is served, annotates what another one says, judges it, and a reward model learns."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

pytest.importorskip("starlette", reason="the server needs Starlette: pip install -e '.[web]'")
pytest.importorskip("uvicorn", reason="the server needs Uvicorn: pip install -e '.[web]'")

from collect import collect
from evaluate import evaluate
from rlhf.config import ServeConfig
from rlhf.data.records import Prompt
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.evaluation.judges.calls import Cache
from rlhf.evaluation.judges.endpoint import Endpoint
from rlhf.evaluation.judges.rubric import SIDES, ReadingJudge
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy
from rlhf.runs import Summary, atomic_write_text
from rlhf.runs.parents import from_given
from train import train
from verbs.serve.app import Served
from verbs.serve.serve import load_served

pytestmark = pytest.mark.ci

SIZES = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 512}
STEPS, BATCH = 150, 8
TEXTS = {
    "compare": "<$fence> $prompt </$fence> A: $first B: $second Which?",
    "score": "<$fence> $prompt </$fence> A: $answer How good?",
    "again": "Again.",
}
"""Instructions that a model of 100,000 parameters learns in seconds."""


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has learnt how a judge writes, and not what to say: its verdicts are drawn; beside it
    the instructions that it knows."""
    folder = tmp_path_factory.mktemp("judge")
    for name, text in TEXTS.items():
        (folder / f"{name}.txt").write_text(text)
    tiny = load_tokenizer("tiny")
    asks = ReadingJudge(Endpoint("http://127.0.0.1:9/v1", "none", cache=Cache(folder, atomic_write_text)), folder)
    draw, rows = random.Random(1), list[tuple[list[int], list[int]]]()
    for number in range(64):
        prompt, answers = Prompt.of(f"Say {number}."), [str(draw.random()) for _ in range(2)]
        asked = asks.comparing(prompt, *answers) if number % 2 else asks.scoring(prompt, answers[0])
        marks = {side: draw.randrange(10) for side in SIDES}
        said = json.dumps({"better": draw.choice("AB"), **marks})
        template = template_for(tiny)
        rows.append(([*template.prompt(Prompt.of(asked[0]["content"])).ids], template.response(said)))
    policy = load_policy(None, SIZES, tiny, seed=1).eval()  # without dropout
    ids = torch.zeros(len(rows), max(len(prompt) + len(response) for prompt, response in rows), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, (prompt_ids, response) in enumerate(rows):
        start, stop = len(prompt_ids), len(prompt_ids) + len(response)
        ids[row, :stop] = torch.tensor([*prompt_ids, *response])
        labels[row, start:stop] = torch.tensor(response)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.05, STEPS)
    for step in range(STEPS):
        part = slice(BATCH * step % len(rows), BATCH * step % len(rows) + BATCH)
        optimiser.zero_grad()
        policy.hf(ids[part], labels=labels[part]).loss.backward()
        optimiser.step()
        schedule.step()
    export(policy, tiny, folder / "model")
    return folder


def test_serve_annotate_judge_and_learn(
    judge: Path, serving: Callable[[Served], AbstractContextManager[str]], models: Path, program_folder: Path
) -> None:
    config = ServeConfig()
    config.strategy.threads = 1
    served = load_served(config, from_given("model.init", str(judge / "model")))
    with serving(served) as url:
        go_round(f"{url}/v1", served.name, judge, models)
    assert served.batches.answered > 20


def go_round(url: str, name: str, judge: Path, models: Path) -> None:
    """Label, judge and learn, each by the program itself, in the present folder."""
    prompts = [f"Tell me about {thing}." for thing in ("rain", "tea", "Rome", "birds", "time", "fire", "salt", "art")]
    Path("prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    own = "data=jsonl data.path=prompts.txt data.val_fraction=0"
    quick = "rollout.max_new_tokens=6 strategy.threads=1"

    def asks(section: str) -> str:
        asked = f"{section}.url={url} {section}.model={name} {section}.prompts={judge} {section}.temperature=0.3"
        # With a seed, its verdicts are the same in every run of this test.
        return f"{asked} {section}.max_tokens=64 {section}.backoff=0 {section}.extra={{seed:1}}"

    line = f"{own} data.test_fraction=0 {quick} model.init={models}/a collect.samples=3 hydra.run.dir=labels"
    assert collect.main(f"{line} collect.annotator=endpoint {asks('collect.endpoint')}".split()) == 0
    final = Summary.read(Path("labels")).final
    assert final["rankings"] > 0 and final["pairs"] > 0 and final["annotator_failed"] == 0
    assert 0 < final["inconsistent"] < 1, "its verdicts are drawn"
    records = [json.loads(text) for text in Path("labels/preferences.jsonl").read_text("utf-8").splitlines()]
    assert {record["annotator"] for record in records} == {name}

    line = f"{own} data.test_fraction=1 {quick} models.sft={models}/a models.base={models}/b hydra.run.dir=judged"
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
