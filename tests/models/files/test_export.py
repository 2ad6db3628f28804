from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.errors import TrainingError
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer

TEXTS = ["Hello world", "### Human: 你好 😀?\n### Assistant: Fine, thanks!", "a", " two  spaces\n\n"]


@pytest.fixture(params=["tiny", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(request.param)


def padded(theirs: Any, tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids as a stranger makes them: texts that end in end-of-text, padded by the exported tokenizer."""
    batch = theirs([text + tokenizer.eos_token for text in TEXTS], padding=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask


def our_rows(tokenizer: Tokenizer) -> list[Row]:
    ids = [(*tokenizer.encode(text), tokenizer.eos_id) for text in TEXTS]
    return [Row(tokens[:1], (tokens[1:],), index=i) for i, tokens in enumerate(ids)]


@torch.no_grad()
def test_policies_load_in_transformers(architecture: dict[str, Any], tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = load_policy(None, architecture, tokenizer, seed=1)
    export(model, tokenizer, tmp_path / "model", facts={"prompt_template": "abc"})
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    words = AutoTokenizer.from_pretrained(tmp_path / "model")
    words.pad_token = words.pad_token or words.eos_token
    words.padding_side = "right"
    ids, mask = padded(words, tokenizer)
    logits = theirs(input_ids=ids, attention_mask=mask).logits
    assert logits.std() > 0.1
    for i, row in enumerate(our_rows(tokenizer)):
        tokens = row.prompt + row.responses[0]
        assert ids[i, : len(tokens)].tolist() == list(tokens)
        alone = model.hf(input_ids=torch.tensor([tokens])).logits[0]
        torch.testing.assert_close(logits[i, : len(tokens)], alone, atol=1e-4, rtol=0)
        said = alone.log_softmax(-1)[:-1].gather(-1, ids[i, 1 : len(tokens), None]).squeeze(-1)
        torch.testing.assert_close(model(collate([row])).logprobs, said, atol=1e-4, rtol=0)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["prompt_template"] == "abc"
    assert config["tokenizer_fingerprint"] == tokenizer.fingerprint
    assert config["architectures"] == [type(model.hf).__name__]
    assert words.eos_token_id == config["eos_token_id"] == tokenizer.eos_id


@torch.no_grad()
def test_reward_models_load_in_transformers(architecture: dict[str, Any], tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = load_scorer(None, architecture, tokenizer, seed=1)
    model.reward_mean = 0.75
    export(model, tokenizer, tmp_path / "model")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    words = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs.config.num_labels == 1
    assert theirs.config.reward_mean == 0.75
    assert words.pad_token_id == theirs.config.pad_token_id != tokenizer.eos_id
    assert words.pad_token_id < theirs.config.vocab_size
    for side in ("right", "left"):
        words.padding_side = side
        ids, mask = padded(words, tokenizer)
        assert (ids == words.pad_token_id).any()
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        scores = theirs(input_ids=ids, attention_mask=mask, position_ids=positions).logits.squeeze(-1)
        torch.testing.assert_close(model(collate(our_rows(tokenizer))), scores - 0.75, atol=1e-4, rtol=0)
    assert scores.std() > 0.05


@torch.no_grad()
def test_exports_load_here_again(architecture: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = load_tokenizer("tiny")
    model = load_scorer(None, architecture, tokenizer, seed=1)
    model.reward_mean = -0.5
    export(model, tokenizer, tmp_path / "model")
    words = load_tokenizer("tiny", tmp_path / "model")
    assert words.fingerprint == tokenizer.fingerprint
    again = load_scorer(str(tmp_path / "model"), {}, words, seed=9, new_head=False)
    rows = our_rows(tokenizer)
    torch.testing.assert_close(again(collate(rows)), model(collate(rows)), atol=0, rtol=0)
    export(again, words, tmp_path / "second")
    second = AutoTokenizer.from_pretrained(tmp_path / "second")
    assert second.pad_token_id == again.hf.config.pad_token_id == model.hf.config.pad_token_id


def test_a_policy_is_exported_without_its_value_head(architectures: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = load_tokenizer("tiny")
    model = load_policy(None, architectures["llama"], tokenizer, seed=1, value_head=True)
    export(model, tokenizer, tmp_path / "model")
    _, report = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not report["missing_keys"]


def test_gathered_weights_take_the_place_of_the_models_own(architectures: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = load_tokenizer("tiny")
    model = load_policy(None, architectures["llama"], tokenizer, seed=1)
    gathered = {name: torch.full_like(tensor, 0.5) for name, tensor in model.hf.state_dict().items()}
    export(model, tokenizer, tmp_path / "model", state_dict=gathered)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert all(bool((tensor == 0.5).all()) for tensor in loaded.state_dict().values())


def test_others_may_read_an_export(architectures: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = load_tokenizer("tiny")
    export(load_policy(None, architectures["llama"], tokenizer, seed=1), tokenizer, tmp_path / "model")
    modes = {file.stat().st_mode for file in (tmp_path / "model").iterdir()}
    assert len(modes) == 1, "weights and configuration have different permissions"


def no_space(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_space_as_safetensors_says_it(*args: Any, **kwargs: Any) -> None:
    raise SafetensorError('Error while serializing: I/O error: Os { code: 28, message: "No space left on device" }')


def no_space_as_tokenizers_says_it(*args: Any, **kwargs: Any) -> None:
    raise Exception("No space left on device (os error 28)")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("failure", [no_space, no_space_as_safetensors_says_it, no_space_as_tokenizers_says_it])
@pytest.mark.parametrize("where", ["weights", "tokenizer"])
def test_a_full_disk_leaves_the_old_export_whole(
    architectures: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[..., None],
    where: str,
) -> None:
    tokenizer = load_tokenizer("tiny")
    model = load_policy(None, architectures["llama"], tokenizer, seed=1)
    export(model, tokenizer, tmp_path / "model")
    before = contents(tmp_path / "model")
    target = model.hf if where == "weights" else type(tokenizer)
    monkeypatch.setattr(target, "save_pretrained" if where == "weights" else "save", failure)
    with pytest.raises(TrainingError, match=r"no space is left on the disk.*resume=true"):
        export(model, tokenizer, tmp_path / "model")
    assert contents(tmp_path / "model") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"], "half an export was left behind"


def test_an_exchange_that_fails_brings_the_old_export_back(
    architectures: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer("tiny")
    model = load_policy(None, architectures["llama"], tokenizer, seed=1)
    export(model, tokenizer, tmp_path / "model")
    before = contents(tmp_path / "model")
    replace = os.replace

    def refuse_new(source: Path, target: Path) -> None:
        if str(source).endswith(".part"):
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse_new)
    with pytest.raises(TrainingError, match=r"(?i)permission denied"):
        export(model, tokenizer, tmp_path / "model")
    assert contents(tmp_path / "model") == before


def test_a_new_export_takes_the_place_of_the_old(architectures: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = load_tokenizer("tiny")
    for seed in (1, 2):
        model = load_policy(None, architectures["llama"], tokenizer, seed=seed)
        export(model, tokenizer, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(loaded.state_dict(), model.hf.state_dict(), atol=0, rtol=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
