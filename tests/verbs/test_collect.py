"""The whole verb, on tiny random models."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from collect import collect
from rlhf.config.verbs.schemas import CollectSettings
from rlhf.data.assistant import belongs
from rlhf.data.assistant.annotator import NOISE
from rlhf.data.assistant.answers import CANDIDATES
from rlhf.data.dataset import load
from rlhf.data.readers import read
from rlhf.data.records import Prompt, Ranking, as_prompts
from rlhf.data.templates.template import Template
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.evaluation.judges.reward_models import reward_judge
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.runs import Summary

pytestmark = pytest.mark.ci

SMALL = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.1}
Main = Callable[..., int]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tiny = tmp_path_factory.mktemp("models"), load_tokenizer("tiny")
    export(load_policy(None, SMALL, tiny, seed=1), tiny, folder / "policy")
    for name, seed in (("reward", 2), ("other", 3)):
        export(load_scorer(None, SMALL, tiny, seed=seed), tiny, folder / name)
    return folder


@pytest.fixture
def main(models: Path, program_folder: Path) -> Main:
    """`main("seed=2")` collects from a random model into `out` (or `directory`)."""

    def run(line: str = "", directory: str = "out") -> int:
        quick = f"model.init={models}/policy rollout.max_new_tokens=6 collect.prompts=20 hydra.run.dir={directory}"
        return collect.main([*quick.split(), *line.format(models=models).split()])

    return run


def lines(directory: str = "out") -> list[dict[str, Any]]:
    text = Path(directory, "preferences.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_rankings_of_samples_and_candidates_that_stages_can_read(main: Main) -> None:
    assert main() == 0
    found = lines()
    assert len(found) == 20
    for line in found:
        texts = [response["text"] for response in line["responses"]]
        assert len(set(texts)) == len(texts) >= 6, "four samples of a random model, and five candidates"
    records = read("out/preferences.jsonl", "comparisons").items
    assert all(isinstance(record, Ranking) for record in records)
    summary = Summary.read(Path("out"))
    assert (summary.status, summary.algo, summary.final["rankings"]) == ("finished", "collect", 20)
    assert summary.final["pairs"] == sum(len(record.pairs()) for record in records)
    assert 0.7 < summary.final["ceiling"] < 1
    # Of the prompts that are for comparisons, none of which is held out for the test.
    prompts = as_prompts(records)
    assert all(belongs(prompt, "comparisons", 1) for prompt in prompts)
    held_out = load("comparisons", seed=1, val_fraction=0.1, test_fraction=0.12).test
    assert not {prompt.key for prompt in prompts} & {prompt.key for prompt in as_prompts(held_out)}


def test_an_answer_of_white_space_is_left_out(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = Template.parse, count()
    monkeypatch.setattr(Template, "parse", lambda self, ids: right(self, ids) if next(calls) % 3 else "\n")
    assert main() == 0
    assert all(response["text"].strip() for line in lines() for response in line["responses"])
    assert len(read("out/preferences.jsonl", "comparisons").items) == 20


def test_the_defaults_are_those_of_the_task_itself() -> None:
    """`rlhf.config` may not import the data, so its numbers are written a second time."""
    assert (CollectSettings().candidates, CollectSettings().noise) == (CANDIDATES, NOISE)


def test_the_same_seed_collects_the_same(main: Main) -> None:
    for directory, line in (("a", ""), ("b", ""), ("c", "seed=2")):
        assert main(line, directory) == 0
    assert lines("a") == lines("b") != lines("c")
    assert Summary.read(Path("a")).id == Summary.read(Path("b")).id


def test_a_finished_collection_is_not_done_again(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    before = Path("out/preferences.jsonl").stat().st_mtime_ns
    assert main("resume=true") == 0
    assert "is finished; nothing to do" in capsys.readouterr().out
    assert Path("out/preferences.jsonl").stat().st_mtime_ns == before


def test_ones_own_prompts_ranked_by_a_reward_model(main: Main) -> None:
    Path("prompts.txt").write_text("Write a poem.\nSing a song.\nTell a joke.\nSay it.\n", encoding="utf-8")
    own = "data=jsonl data.path=prompts.txt data.val_fraction=0 data.test_fraction=0"
    assert main(f"{own} collect.annotator=reward collect.reward_model={{models}}/reward") == 0
    found = lines()
    assert [line["prompt"] for line in found] == ["Write a poem.", "Sing a song.", "Tell a joke.", "Say it."]
    assert all(len(line["responses"]) <= 4 for line in found), "no candidates: the judge knows no answers to these"
    assert any(len({response["rank"] for response in line["responses"]}) > 1 for line in found)
    assert "ceiling" not in Summary.read(Path("out")).final


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("data=jsonl data.path=p.txt", "collect.annotator: data=jsonl has no judge of its own; pass collect.annotator"),
        ("data=jsonl data.path=p.txt collect.annotator=gold", "collect.annotator: gold judges the embedded task only"),
        ("model.init=nowhere", "model.init: nowhere does not exist"),
        ("model.init={models}/reward", "is a reward model, not a policy"),
        ("collect.reward_model={models}/policy", "is not a reward model"),
        ("collect.temperatures=[]", "each needs at least one value"),
        ("collect.comparisons=3", "collect.comparisons: is for collect.select"),
        ("collect.select=random", "collect.comparisons: missing"),
        ("collect.select=margin collect.comparisons=3", "collect.ensemble: collect.select=margin goes by 1 or more"),
        (
            "collect.select=disagreement collect.comparisons=3 collect.ensemble=[{models}/reward]",
            "collect.ensemble: collect.select=disagreement goes by 2 or more",
        ),
        (
            "collect.select=disagreement collect.comparisons=3 collect.ensemble=[{models}/reward,{models}/reward]",
            "collect.ensemble: collect.select=disagreement goes by 2 or more",
        ),
        (
            "collect.select=random collect.comparisons=3 collect.ensemble=[{models}/reward]",
            "collect.ensemble: collect.select=random does not go by scores",
        ),
        (
            "collect.select=margin collect.comparisons=3 collect.ensemble=[{models}/policy]",
            "collect.ensemble.0: {models}/policy is not a reward model",
        ),
        ("collect.answers=nowhere.jsonl", "collect.answers: nowhere.jsonl does not exist"),
        ("collect.answers=p.txt", "p.txt"),
        ("collect.sample=3", "collect.sample: unknown key; did you mean collect.samples?"),
    ],
)
def test_refusals(main: Main, models: Path, capsys: pytest.CaptureFixture[str], line: str, sentence: str) -> None:
    Path("p.txt").write_text("\n".join(f"prompt {number}" for number in range(50)), encoding="utf-8")
    assert main(line) == 2
    told = capsys.readouterr().err.strip()
    assert sentence.format(models=models) in told
    assert "\n" not in told


def questions(directory: str) -> dict[str, set[str]]:
    """The two answers that were asked about, by prompt."""
    found = {line["prompt"]: {response["text"] for response in line["responses"]} for line in lines(directory)}
    assert len(found) == len(lines(directory))
    assert all(len(texts) == 2 for texts in found.values())
    return found


def test_pairs_about_which_reward_models_differ_are_asked_about(main: Main, models: Path) -> None:
    assert main("", "all") == 0
    pool = "collect.answers=all/preferences.jsonl collect.select=disagreement collect.comparisons=5"
    ensemble = f"collect.ensemble=[{models}/reward,{models}/other]"
    assert main(f"{pool} {ensemble}", "first") == 0
    asked = questions("first")
    assert len(asked) == 5
    assert (Summary.read(Path("first")).final["pool"], Summary.read(Path("first")).final["pairs"]) == (20, 5)
    # By hand: the largest variance of σ(a − b) over the two models, of all pairs of each prompt.
    judges = [reward_judge("", str(models / name), 512) for name in ("reward", "other")]
    values: dict[str, float] = {}
    for line in lines("all"):
        texts = sorted(response["text"] for response in line["responses"])
        prompt = as_prompts([Prompt((("user", line["prompt"]),))])[0]
        r, o = (judge.scores([prompt] * len(texts), texts) for judge in judges)
        gaps = [abs(_sigmoid(r[i], r[j]) - _sigmoid(o[i], o[j])) / 2 for i in range(len(texts)) for j in range(i)]
        values[line["prompt"]] = max(gaps) ** 2
    assert set(asked) == set(sorted(values, key=lambda prompt: -values[prompt])[:5])
    found = Summary.read(Path("first")).final["selected_variance"]
    assert found == pytest.approx(sum(values[prompt] for prompt in asked) / 5, abs=1e-4)
    # What was asked is not asked again, and the same question has the same name whatever stands around it.
    assert main(f"{pool} {ensemble} collect.exclude=[first/preferences.jsonl]", "second") == 0
    again = questions("second")
    assert not {(prompt, *sorted(texts)) for prompt, texts in again.items()} & {
        (prompt, *sorted(texts)) for prompt, texts in asked.items()
    }
    assert Summary.read(Path("first")).id != Summary.read(Path("second")).id


def _sigmoid(a: float | None, b: float | None) -> float:
    assert a is not None
    assert b is not None
    return 1 / (1 + math.exp(b - a))


@pytest.mark.parametrize("way", ["random", "diverse"])
def test_pairs_of_new_answers_without_a_reward_model(main: Main, way: str) -> None:
    assert main(f"collect.select={way} collect.comparisons=6") == 0
    assert len(questions("out")) == 6
    assert len(read("out/preferences.jsonl", "comparisons").items) == 6


def test_answers_of_a_file_need_no_model(main: Main) -> None:
    assert main("", "all") == 0
    assert main("collect.answers=all/preferences.jsonl model.init=nowhere", "out") == 0
    assert {line["prompt"] for line in lines()} == {line["prompt"] for line in lines("all")}
    before, after = ({r["text"] for line in lines(d) for r in line["responses"]} for d in ("all", "out"))
    assert before == after
    # A file that changed is another collection.
    first = Summary.read(Path("out")).id
    text = Path("all/preferences.jsonl").read_text(encoding="utf-8").splitlines()
    Path("all/preferences.jsonl").write_text("\n".join(text[:10]) + "\n", encoding="utf-8")
    assert main("collect.answers=all/preferences.jsonl model.init=nowhere", "less") == 0
    assert Summary.read(Path("less")).id != first
    assert len(lines("less")) == 10


def test_a_single_turn_is_written_as_text_and_a_conversation_as_messages(main: Main) -> None:
    turns = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Go."},
    ]
    Path("talk.jsonl").write_text(json.dumps({"messages": turns}) + "\n", encoding="utf-8")
    own = "data=jsonl data.path=talk.jsonl data.val_fraction=0 data.test_fraction=0"
    assert main(f"{own} collect.annotator=reward collect.reward_model={{models}}/reward") == 0
    assert lines()[0]["prompt"] == turns
    assert read("out/preferences.jsonl", "prompts").items == [
        Prompt((("user", "Hi."), ("assistant", "Yes?"), ("user", "Go.")))
    ]


def test_a_full_disk_loses_no_answer(main: Main, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """What was sampled before the rankings could not be written is not sampled again, and gives the same rankings."""
    assert main(directory="whole") == 0

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("verbs.collect.atomic_write_text", full)
        assert main() == 2
    assert "preferences.jsonl" in capfd.readouterr().err
    assert Summary.read(Path("out")).status == "failed"
    assert Path("out/completions.jsonl").exists()
    with monkeypatch.context() as patch:
        patch.setattr(TorchSampler, "sample", lambda *_, **__: pytest.fail("sampled again"))
        assert main("resume=true") == 0
    assert lines() == lines("whole")
    assert not Path("out/completions.jsonl").exists()
