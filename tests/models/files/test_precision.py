"""The dtype of exports, by `transformers`' own reading of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.errors import TrainingError
from rlhf.models.adapters import Lora, add_lora
from rlhf.models.files import loading
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.models.files.precision import export_dtype, in_dtype, round_weights

ROWS = [Row((1, 2, 3), ((4, 5, 6, 7, 8), (9, 3))), Row((11,), ((12, 13),))]
LOW = [torch.bfloat16, torch.float16]


@pytest.fixture
def words() -> Tokenizer:
    return load_tokenizer("tiny")


@pytest.fixture
def saved(words: Tokenizer, tmp_path: Path) -> Callable[..., str]:
    """A folder that a user brings, in this dtype."""

    def save(architecture: dict[str, Any], dtype: torch.dtype, load: Callable[..., Any] = load_policy) -> str:
        export(load(None, architecture, words, seed=1), words, tmp_path / "source", dtype=dtype)
        return str(tmp_path / "source")

    return save


def nudge(hf: Any) -> None:
    """Training, in steps far below a rounding of bf16."""
    with torch.no_grad():
        for weight in hf.parameters():
            weight.add_(1e-5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))


def kinds(folder: Path) -> set[str]:
    found: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as content:
            found |= {content.get_slice(name).get_dtype() for name in content.keys()}  # noqa: SIM118
    return found


def says(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text())["dtype"])


@pytest.mark.parametrize("dtype", LOW)
def test_exports_keep_the_dtype_of_their_source(
    architecture: dict[str, Any], dtype: torch.dtype, saved: Callable[..., str], words: Tokenizer, tmp_path: Path
) -> None:
    source = saved(architecture, dtype)
    assert kinds(Path(source)) == {{torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]}
    config = json.loads((Path(source) / "config.json").read_text())
    (Path(source) / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))  # the weights know better
    model = load_policy(source, {}, words, seed=9)
    nudge(model.hf)
    export(model, words, tmp_path / "model")
    assert kinds(tmp_path / "model") == kinds(Path(source))
    assert says(tmp_path / "model") == str(dtype).removeprefix("torch.")
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = model.hf.state_dict()
    assert all(torch.equal(weight, ours[name].to(dtype)) for name, weight in theirs.state_dict().items())
    assert model.hf.dtype == torch.float32

    export(model, words, tmp_path / "wide", dtype=export_dtype(model.hf, "float32"))
    assert kinds(tmp_path / "wide") == {"F32"}
    assert says(tmp_path / "wide") == "float32"
    wide = AutoModelForCausalLM.from_pretrained(tmp_path / "wide").state_dict()
    assert all(torch.equal(weight, ours[name]) for name, weight in wide.items())


@pytest.mark.parametrize("asked", ["auto", "float32"])
def test_fp32_stays_what_it_is_to_the_last_bit(
    architecture: dict[str, Any], asked: str, saved: Callable[..., str], words: Tokenizer, tmp_path: Path
) -> None:
    model = load_policy(saved(architecture, torch.float32), {}, words, seed=9)
    export(model, words, tmp_path / "model", dtype=export_dtype(model.hf, asked))
    model.hf.save_pretrained(tmp_path / "plain")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "model" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert says(tmp_path / "model") == "float32"


def test_new_weights_are_fp32(architectures: dict[str, Any], words: Tokenizer) -> None:
    assert export_dtype(load_policy(None, architectures["llama"], words, seed=1).hf) == torch.float32


@torch.no_grad()
def test_scores_are_those_of_the_rounded_export(
    architecture: dict[str, Any], saved: Callable[..., str], words: Tokenizer, tmp_path: Path
) -> None:
    model = load_scorer(saved(architecture, torch.bfloat16), {}, words, seed=9)
    nudge(model.hf)
    before = model(collate(ROWS))
    round_weights(model, export_dtype(model.hf))
    ours = model(collate(ROWS))
    assert not torch.equal(before, ours)
    model.reward_mean = float(ours.mean())
    export(model, words, tmp_path / "model")
    assert kinds(tmp_path / "model") == {"BF16"}  # the head too
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", dtype="auto")
    assert theirs.dtype == torch.bfloat16
    texts = [row.prompt + response for row in ROWS for response in row.responses]
    scores = torch.stack([theirs.float().eval()(input_ids=torch.tensor([text])).logits[0, 0] for text in texts])
    torch.testing.assert_close(scores, ours, atol=2e-6, rtol=0)
    assert abs(float(scores.mean()) - theirs.config.reward_mean) < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("load", [load_policy, load_scorer])
def test_merged_adapters_are_written_in_it_too(
    architecture: dict[str, Any],
    load: Callable[..., Any],
    saved: Callable[..., str],
    words: Tokenizer,
    tmp_path: Path,
) -> None:
    model = load(saved(architecture, torch.bfloat16), {}, words, seed=9)
    add_lora(model.hf, Lora(r=2), seed=0)
    for name, weight in model.hf.named_parameters():
        if ".lora_B." in name:
            weight.normal_(std=0.1)
    export(model, words, tmp_path / "model")
    assert kinds(tmp_path / "model") == {"BF16"}
    assert says(tmp_path / "model") == "bfloat16"
    again = load(str(tmp_path / "model"), {}, words, seed=8)

    def numbers(one: Any) -> torch.Tensor:
        found = one(collate(ROWS))
        return found if isinstance(found, torch.Tensor) else found.logprobs

    torch.testing.assert_close(numbers(again), numbers(model), atol=0.1, rtol=0)


def test_gathered_weights_and_shards(
    architectures: dict[str, Any], saved: Callable[..., str], words: Tokenizer, tmp_path: Path
) -> None:
    model = load_policy(saved(architectures["qwen2"], torch.bfloat16), {}, words, seed=9)
    model.hf.bfloat16().save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    words.save(tmp_path / "shards")
    again = load_policy(str(tmp_path / "shards"), {}, words, seed=9)
    gathered = {
        name: torch.full_like(w, 1 / 3) for name, w in again.hf.state_dict().items() if name != "lm_head.weight"
    }
    export(again, words, tmp_path / "model", state_dict=gathered)
    assert kinds(tmp_path / "model") == {"BF16"}
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto").state_dict()
    assert all(bool((w == torch.tensor(1 / 3).bfloat16()).all()) for w in theirs.values())


def test_a_model_of_the_hubs_cache(
    architectures: dict[str, Any],
    saved: Callable[..., str],
    words: Tokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the hub's client lays it out: a commit's files below `snapshots`, found through `refs/main`."""
    from huggingface_hub import constants

    commit = "0" * 40
    place = tmp_path / "hub" / "models--some--model"
    (place / "refs").mkdir(parents=True)
    (place / "snapshots").mkdir()
    (place / "refs" / "main").write_text(commit)
    Path(saved(architectures["llama"], torch.bfloat16)).rename(place / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(loading, "reachable", lambda: False)
    assert export_dtype(load_policy("some/model", {}, words, seed=9).hf) == torch.bfloat16


def test_fp16_never_becomes_infinite(architectures: dict[str, Any], words: Tokenizer) -> None:
    hf = load_policy(None, architectures["llama"], words, seed=1).hf
    weights = {"a.weight": torch.tensor([1.0, 1e6])}
    with pytest.raises(TrainingError, match=r"^export.dtype=float16: a.weight holds 1e\+06"):
        in_dtype(hf, weights.items(), torch.float16, weights)
    assert in_dtype(hf, weights.items(), torch.bfloat16, weights)["a.weight"].isfinite().all()
