from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlhf.config import ModelConfig, TrainConfig, algorithms
from rlhf.errors import ParentError
from rlhf.runs import Parent, Summary, find_parent, resolve_init, resolve_reward_model

TINY = ModelConfig(name="tiny", tokenizer="tiny", architecture={"model_type": "gpt2", "n_embd": 128})
GPT2 = ModelConfig(name="gpt2", tokenizer="gpt2", path="openai-community/gpt2", architecture={"n_embd": 768})


def config(stage: str, model: ModelConfig = TINY, **algo: Any) -> dict[str, Any]:
    return dataclasses.asdict(TrainConfig(algo=algorithms()[stage](**algo), model=model))


def a_model(folder: Path, weights: str = "w", **facts: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights)
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


def a_run(
    directory: Path,
    stage: str,
    model: ModelConfig = TINY,
    *,
    finished: str = "2026-01-01",
    status: str = "finished",
    sha: str | None = None,
    **facts: Any,
) -> Path:
    kind = "GPT2ForSequenceClassification" if stage == "reward" else "GPT2LMHeadModel"
    facts = {"architectures": [kind], "id2label": {"0": "LABEL_0"}, "tokenizer_fingerprint": "tok", **facts}
    a_model(directory / "model", weights=str(directory), **facts)
    summary = Summary(status=status, algo=stage, model=model.name, finished_at=finished, model_sha256=sha)
    summary.write(directory)
    (directory / "config.yaml").write_text(yaml.safe_dump(config(stage, model)))
    return directory


def sha256(run: Path) -> str:
    """Of the weights that `a_run` wrote."""
    return hashlib.sha256(str(run).encode()).hexdigest()


@pytest.mark.parametrize(("stage", "before"), [("sft", "pretrain"), ("reward", "sft"), ("dpo", "sft"), ("ppo", "sft")])
def test_auto_takes_the_newest_finished_run_of_the_stage_before(tmp_path: Path, stage: str, before: str) -> None:
    a_run(tmp_path / "z-old", before, finished="2026-01-01")
    newest = a_run(tmp_path / "multirun" / "t" / "1-new", before, finished="2026-01-02", sha="recorded")
    a_run(tmp_path / "unfinished", before, finished="2026-01-03", status="failed")
    a_run(tmp_path / "other-stage", "ppo" if before != "ppo" else "dpo", finished="2026-01-03")
    a_run(tmp_path / "other-model", before, GPT2, finished="2026-01-03")
    a_run(
        tmp_path / "other-size", before, dataclasses.replace(TINY, architecture={"n_embd": 64}), finished="2026-01-03"
    )
    a_run(tmp_path / "other-tokens", before, dataclasses.replace(TINY, tokenizer="gpt2"), finished="2026-01-03")
    parent = resolve_init(config(stage), tmp_path)
    assert (parent.kind, parent.dir, parent.sha256, parent.warning) == ("run", newest, sha256(newest), False)
    assert parent.source == str(newest / "model")
    assert "newest" in parent.reason and str(newest) in parent.reason


@pytest.mark.parametrize("claimed", [None, "0" * 64])
def test_the_hash_is_that_of_the_weights_whatever_the_summary_says(tmp_path: Path, claimed: str | None) -> None:
    run = a_run(tmp_path / "r", "sft", sha=claimed)
    assert resolve_init(config("dpo"), tmp_path).sha256 == sha256(run)
    (run / "model" / "model.safetensors").write_text("edited")
    assert resolve_init(config("dpo"), tmp_path).sha256 == hashlib.sha256(b"edited").hexdigest()


def test_a_run_on_other_data_is_a_parent_too(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", "sft")
    other = config("sft")
    other["data"]["name"] = "hh_rlhf"
    (run / "config.yaml").write_text(yaml.safe_dump(other))
    assert find_parent("sft", config("dpo"), tmp_path) == run


def test_auto_without_a_parent(tmp_path: Path) -> None:
    pretrained = resolve_init(config("sft", GPT2), tmp_path)
    assert (pretrained.kind, pretrained.source) == ("pretrained", "openai-community/gpt2")
    assert "no finished pretrain run of model=gpt2" in pretrained.reason
    random = resolve_init(config("dpo"), tmp_path)
    assert (random.kind, random.source, random.warning) == ("random", None, True)
    assert "python train.py algo=sft model=tiny" in random.reason
    assert not resolve_init(config("pretrain"), tmp_path).warning


@pytest.mark.parametrize(
    ("stage", "path", "warns"),
    [
        ("dpo", "openai-community/gpt2", True),
        ("reward", "HuggingFaceTB/SmolLM2-135M", True),
        ("ppo", "google/gemma-2-2b", True),
        ("dpo", "HuggingFaceTB/SmolLM2-135M-Instruct", False),
        ("ppo", "google/gemma-2-2b-it", False),
        ("dpo", "allenai/Llama-3.1-Tulu-3-8B-SFT", False),
        ("sft", "openai-community/gpt2", False),
    ],
)
def test_preferences_on_a_base_model_are_warned_of(stage: str, path: str, warns: bool, tmp_path: Path) -> None:
    parent = resolve_init(config(stage, dataclasses.replace(GPT2, path=path)), tmp_path)
    assert (parent.kind, parent.warning, "algo=sft" in parent.reason) == ("pretrained", warns, warns)


def test_pretrained_weights_in_a_folder_are_hashed(tmp_path: Path) -> None:
    folder = a_model(tmp_path / "smol", "weights")
    parent = resolve_init(config("sft", dataclasses.replace(GPT2, path=str(folder), init="pretrained")), tmp_path)
    assert (parent.kind, parent.source) == ("folder", str(folder))
    assert parent.identity == hashlib.sha256(b"weights").hexdigest()


def test_identities() -> None:
    assert Parent("random").identity == "random"
    assert Parent("pretrained", name="a/b").identity == "pretrained a/b"
    assert Parent("run", Path("x"), "abc").identity == "abc"


@pytest.mark.parametrize(
    "parent",
    [Parent("run", Path("/x"), "abc", "why"), Parent("pretrained", name="a/b", reason="why"), Parent("random")],
)
def test_records_round_trip(parent: Parent) -> None:
    assert Parent.from_record(json.loads(json.dumps(parent.record()))) == parent


def init(path: Path, stage: str = "dpo", model: ModelConfig = TINY) -> dict[str, Any]:
    return config(stage, dataclasses.replace(model, init=str(path)))


def test_a_given_run_or_folder_is_taken(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r", "dpo")
    assert resolve_init(init(run), tmp_path).dir == run
    assert resolve_init(init(run / "model"), tmp_path).kind == "folder"
    reward = a_run(tmp_path / "reward", "reward")
    assert resolve_init(init(reward, "reward"), tmp_path).dir == reward


def refused(content: dict[str, Any], root: Path) -> str:
    with pytest.raises(ParentError) as caught:
        resolve_init(content, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals_of_init(tmp_path: Path) -> None:
    assert (
        "pretraned does not exist; pass auto, pretrained, random, a run directory or a model folder; did you mean"
        in (refused(init(Path("pretraned")), tmp_path))
    )
    (tmp_path / "empty").mkdir()
    assert "is neither a run directory (summary.json) nor a model folder" in refused(init(tmp_path / "empty"), tmp_path)
    running = a_run(tmp_path / "running", "sft", status="running")
    assert f"model.init: {running} is running, not finished; finish it with resume=true" in refused(
        init(running), tmp_path
    )
    other = a_run(tmp_path / "gpt2", "sft", GPT2)
    assert "holds model=gpt2, but this run is model=tiny; pass model=gpt2" in refused(init(other), tmp_path)
    reward = a_run(tmp_path / "reward", "reward")
    assert "is a reward model, not a policy" in refused(init(reward), tmp_path)
    assert "is a reward model, not a policy" in refused(init(reward / "model"), tmp_path)
    folder = a_model(tmp_path / "wide", model_type="gpt2", n_embd=256)
    assert "has n_embd=256, but model=tiny has 128" in refused(init(folder), tmp_path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").touch()
    assert "holds no .safetensors weights; pickled ones are not loaded" in refused(init(pickled), tmp_path)
    (folder / "config.json").write_text("[")
    assert "config.json: can't be read" in refused(init(folder), tmp_path)
    lost = a_run(tmp_path / "lost", "sft")
    (lost / "model" / "model.safetensors").unlink()
    assert "is finished, but its model folder holds no .safetensors" in refused(init(lost), tmp_path)
    (lost / "summary.json").write_text("{")
    assert "not a summary that can be read" in refused(init(lost), tmp_path)


POLICY = Parent("random")


def test_auto_reward_model_is_the_newest_with_the_same_tokenizer(tmp_path: Path) -> None:
    a_run(tmp_path / "old", "reward", finished="2026-01-01")
    newest = a_run(tmp_path / "new", "reward", finished="2026-01-02")
    a_run(tmp_path / "running", "reward", finished="2026-01-03", status="running")
    a_run(tmp_path / "policy", "sft", finished="2026-01-03")
    a_run(tmp_path / "other", "reward", dataclasses.replace(TINY, tokenizer="gpt2"), finished="2026-01-04")
    a_run(tmp_path / "steps", "process-reward", finished="2026-01-05")  # of another kind: to be named
    assert resolve_reward_model(config("ppo"), POLICY, tmp_path).dir == newest


def test_fingerprints_decide_where_there_are_two(tmp_path: Path) -> None:
    reward = a_run(tmp_path / "reward", "reward", tokenizer_fingerprint="theirs")
    for fingerprint, fits in (("theirs", True), ("ours", False)):
        run = a_run(tmp_path / fingerprint, "sft", tokenizer_fingerprint=fingerprint)
        policy = Parent("run", run)
        for content in (config("ppo", reward_model=str(reward)), config("ppo")):
            if fits:
                assert resolve_reward_model(content, policy, tmp_path).dir == reward
            else:
                with pytest.raises(ParentError, match="tokenizer"):
                    resolve_reward_model(content, policy, tmp_path)


def test_refusals_of_reward_models(tmp_path: Path) -> None:
    def refused(given: object) -> str:
        with pytest.raises(ParentError) as caught:
            resolve_reward_model(config("ppo", reward_model=str(given)), POLICY, tmp_path)
        return str(caught.value)

    assert "auto found no finished reward run" in refused("auto")
    assert "python train.py algo=reward model=tiny" in refused("auto")
    assert "does not exist; pass auto, a run directory or a model folder" in refused(tmp_path / "nothing")
    assert "is not a reward model; pass a finished algo=reward run" in refused(a_run(tmp_path / "sft", "sft"))
    labels = {"0": "a", "1": "b"}
    assert "has 2 labels; a reward model has one" in refused(a_run(tmp_path / "two", "reward", id2label=labels))
    assert "is failed, not finished" in refused(a_run(tmp_path / "failed", "reward", status="failed"))


def test_the_tokenizer_sentence(tmp_path: Path) -> None:
    reward = a_run(tmp_path / "reward", "reward", dataclasses.replace(TINY, tokenizer="gpt2"))
    with pytest.raises(ParentError, match=r"algo\.reward_model: the tokenizer of .* differs from the policy's"):
        resolve_reward_model(config("ppo", reward_model=str(reward)), POLICY, tmp_path)
