from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.errors import ConfigError, ParentError
from rlhf.models.files import loading
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer

TINY = load_tokenizer("tiny")


class Few:
    """A tokenizer for the 53 tokens of the fixtures' models."""

    name, vocab_size, eos_id, eos_token, pad_id, fingerprint = "few", 53, 2, "</s>", None, "few"
    stop_ids, former_fingerprint = (2,), None


@pytest.fixture
def few() -> Tokenizer:
    tokenizer: Any = Few()
    return tokenizer  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "reachable", lambda: False)


@pytest.fixture
def saved(make_hf: Callable[..., Any], architectures: dict[str, Any], tmp_path: Path) -> Path:
    """A Llama whose output layer is not tied, as `transformers` saves it."""
    make_hf("causal", architectures["llama"]).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in (config | changes).items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))


def test_the_seed_alone_decides_random_weights(architecture: dict[str, Any]) -> None:
    first, again, other = (load_policy(None, architecture, TINY, seed=s).hf.state_dict() for s in (1, 1, 2))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_loading_leaves_the_callers_randomness_alone(architectures: dict[str, Any]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_scorer(None, architectures["gpt2"], TINY, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_equal_seeds_make_equal_scorers(saved: Path, few: Tokenizer) -> None:
    states = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        states.append(load_scorer(str(saved), {}, few, seed=3).hf.state_dict())
    torch.testing.assert_close(states[0], states[1], atol=0, rtol=0)
    assert not torch.equal(states[0]["score.weight"], load_scorer(str(saved), {}, few, seed=4).hf.score.weight)


def test_a_new_head_has_the_papers_spread(architectures: dict[str, Any]) -> None:
    wide = {"model_type": "gpt2", "n_embd": 4096, "n_layer": 1, "n_head": 1, "n_positions": 8, "n_inner": 8}
    head = load_scorer(None, wide | {"vocab_size": 1002}, TINY, seed=1).hf.score.weight
    assert head.std().item() == pytest.approx(1 / math.sqrt(4097), rel=0.05)


@pytest.mark.parametrize("load", [load_policy, load_scorer])
def test_models_train_in_fp32_without_dropout(load: Callable[..., Any], architectures: dict[str, Any]) -> None:
    model = load(None, architectures["gpt2"], TINY, seed=1)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(m.p == 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))
    assert model.hf.config.attn_pdrop == model.hf.config.resid_pdrop == model.hf.config.embd_pdrop == 0


@pytest.mark.parametrize("load", [load_policy, load_scorer])
def test_loaded_models_are_in_training_mode(load: Callable[..., Any], saved: Path, few: Tokenizer) -> None:
    assert load(str(saved), {}, few, seed=1).hf.training, "gradient checkpointing would do nothing"


def test_half_precision_files_are_widened(
    make_hf: Callable[..., Any], architectures: dict[str, Any], tmp_path: Path, few: Tokenizer
) -> None:
    make_hf("causal", architectures["llama"]).bfloat16().save_pretrained(tmp_path / "half")
    assert {p.dtype for p in load_policy(str(tmp_path / "half"), {}, few, seed=1).parameters()} == {torch.float32}


def test_a_reward_model_needs_a_head_where_scores_count(saved: Path, few: Tokenizer) -> None:
    with pytest.raises(ParentError, match="language model without a reward head"):
        load_scorer(str(saved), {}, few, seed=1, new_head=False)


def test_the_pad_row_is_added_once_and_is_zero(saved: Path, few: Tokenizer) -> None:
    model = load_scorer(str(saved), {}, few, seed=1)
    assert model.hf.config.pad_token_id == 53
    weight = model.hf.get_input_embeddings().weight
    assert weight.shape[0] == 54
    assert weight[53].abs().max() == 0


def test_the_tokenizers_pad_token_wins_over_the_models(saved: Path, few: Any) -> None:
    edit(saved, pad_token_id=7)
    few.pad_id = 5
    model = load_scorer(str(saved), {}, few, seed=1)
    assert (model.hf.config.pad_token_id, model.hf.config.vocab_size) == (5, 53)
    few.pad_id = few.eos_id
    assert load_scorer(str(saved), {}, few, seed=1).hf.config.pad_token_id == 53


# -- refusals ----------------------------------------------------------------------------------------------------------


def refused(source: Path | str, tokenizer: Any, match: str, load: Callable[..., Any] = load_policy) -> None:
    with pytest.raises(ParentError, match=match) as caught:
        load(str(source), {}, tokenizer, seed=1)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights(saved: Path, few: Tokenizer) -> None:
    (saved / "model.safetensors").unlink()
    refused(saved, few, r"model.init=.*holds no .safetensors weights")


def test_pickles_are_not_opened(saved: Path, few: Tokenizer) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (saved.parent / "sprung",)

    (saved / "model.safetensors").unlink()
    torch.save({"x": Trap()}, saved / "pytorch_model.bin")
    refused(saved, few, "pickled .bin files are not loaded")
    assert not (saved.parent / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"xx", b"\xff" * 400])
def test_weights_that_are_damaged(saved: Path, few: Tokenizer, content: bytes) -> None:
    (saved / "model.safetensors").write_bytes(content)
    refused(saved, few, "could not be loaded")


@pytest.mark.parametrize("changes", [{"model_type": "zebra"}, {"model_type": ...}, {"hidden_size": "wide"}])
def test_configurations_that_say_no_known_model(saved: Path, few: Tokenizer, changes: dict[str, Any]) -> None:
    edit(saved, **changes)
    refused(saved, few, "could not be loaded .*pass model.init=FOLDER")


def test_weights_of_other_sizes(saved: Path, few: Tokenizer) -> None:
    edit(saved, intermediate_size=64)
    refused(saved, few, "could not be loaded")


def test_a_configuration_that_is_not_json(saved: Path, few: Tokenizer) -> None:
    (saved / "config.json").write_text("{")
    refused(saved, few, "could not be loaded")


def test_a_classifier_with_two_labels(
    make_hf: Callable[..., Any], architectures: dict[str, Any], tmp_path: Path, few: Tokenizer
) -> None:
    make_hf("score", architectures["llama"], num_labels=2).save_pretrained(tmp_path / "two")
    refused(tmp_path / "two", few, "could not be loaded", load_scorer)


def test_a_reward_model_has_no_output_layer(
    make_hf: Callable[..., Any], architectures: dict[str, Any], tmp_path: Path, few: Tokenizer
) -> None:
    make_hf("score", architectures["llama"]).save_pretrained(tmp_path / "score")
    refused(tmp_path / "score", few, r"the weights lack 1 tensors, first of them lm_head.weight")


@pytest.mark.parametrize("load", [load_policy, load_scorer])
def test_a_vocabulary_smaller_than_the_tokenizers(load: Callable[..., Any], saved: Path) -> None:
    refused(saved, TINY, f"knows 53 tokens, the tokenizer tiny has {TINY.vocab_size}", load)


def test_an_export_with_another_tokenizer(architectures: dict[str, Any], tmp_path: Path, few: Tokenizer) -> None:
    export(load_policy(None, architectures["gpt2"], TINY, seed=1), TINY, tmp_path / "model")
    load_policy(str(tmp_path / "model"), {}, TINY, seed=1)
    refused(tmp_path / "model", few, "another tokenizer than few")


@pytest.mark.parametrize("name", ["/no/such/folder", "nobody/no-such-model"])
def test_nothing_there_and_no_network(name: str, few: Tokenizer) -> None:
    refused(name, few, "could not be loaded .*pass model.init=FOLDER .* or model.init=random")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": ...}, "needs a model_type"),
        ({"model_type": "zebra"}, "model.architecture.model_type: 'zebra'"),
        ({"n_layers": 3}, "model.architecture.n_layers: a gpt2 has no such key; did you mean n_layer"),
        ({"n_embd": 33}, "model.architecture: these sizes make no gpt2"),
        ({"n_embd": "wide"}, "model.architecture: these sizes make no gpt2"),
        ({"vocab_size": 500}, "model.architecture.vocab_size: 500, but the tokenizer tiny has"),
    ],
)
def test_architectures_that_make_no_model(architectures: dict[str, Any], changes: dict[str, Any], match: str) -> None:
    options = {key: value for key, value in (architectures["gpt2"] | changes).items() if value is not ...}
    with pytest.raises(ConfigError, match=match) as caught:
        load_policy(None, options, TINY, seed=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("from_folder", [False, True])
def test_a_family_without_a_classifier_is_no_reward_model(
    make_hf: Callable[..., Any], few: Tokenizer, tmp_path: Path, from_folder: bool
) -> None:
    sizes = {"model_type": "granite", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 53}
    if from_folder:
        make_hf("causal", sizes, pad_token_id=None).save_pretrained(tmp_path / "granite")
    source = str(tmp_path / "granite") if from_folder else None
    with pytest.raises(ParentError, match=r"^model.init=.*: granite can't be a reward model") as caught:
        load_scorer(source, {} if from_folder else sizes, few, seed=1)
    assert len(str(caught.value)) < 400


def test_an_encoder_is_no_policy(few: Tokenizer) -> None:
    with pytest.raises(ParentError, match=r"^model.init=random: t5 is no causal language model"):
        load_policy(None, {"model_type": "t5"}, few, seed=1)
