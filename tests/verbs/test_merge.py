"""The whole verb, on tiny random models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from launch.programs import merge
from rlhf.runs import Parent, Summary
from rlhf.runs.parents import from_given
from rlhf.storage.weights import weights_sha256
from verbs.finished_model import Lengths, lengths_of

Main = Callable[[str], int]
IDS = torch.tensor([[5, 9, 17, 3]])


@pytest.fixture
def main(models: Path, program_folder: Path) -> Main:
    """`main("models=[{a},{b}]")` merges into `out`; the folders are copies that a test may change."""
    for path in models.iterdir():
        shutil.copytree(path, program_folder / path.name)
    return lambda line: merge.main(
        ["hydra.run.dir=out", *line.format(**{p.name: p.name for p in models.iterdir()}).split()]
    )


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def set_key(folder: str, **changes: Any) -> None:
    path = Path(folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def test_the_average_of_two_policies_is_a_run_that_others_start_from(main: Main) -> None:
    assert main("models=[{a},{b}] merge.weights=[3,1]") == 0
    found, a, b = weights("out/model"), weights("a"), weights("b")
    for name, value in found.items():
        torch.testing.assert_close(value, 0.75 * a[name] + 0.25 * b[name])
    loaded: Any = AutoModelForCausalLM.from_pretrained("out/model")
    expected: Any = AutoModelForCausalLM.from_pretrained("a")
    expected.load_state_dict({**a, **found}, strict=False)
    expected.tie_weights()
    torch.testing.assert_close(loaded(IDS).logits, expected(IDS).logits)

    summary = Summary.read(Path("out"))
    assert (summary.status, summary.algo) == ("finished", "merge")
    assert summary.model_sha256 == weights_sha256(Path("out/model"))
    assert {key: p["sha256"] for key, p in summary.parents.items()} == {
        f"models.{i}": weights_sha256(Path(name)) for i, name in enumerate("ab")
    }
    parent = from_given("model.init", "out", {"name": "tiny"})
    assert (parent.kind, parent.sha256) == ("run", summary.model_sha256)
    assert main("models=[{a},{b}] merge.weights=[3,1] resume=true") == 0
    shutil.move("b", "elsewhere")
    assert main("models=[{a},elsewhere] merge.weights=[3,1] resume=true") == 0, "a moved model is the same one"
    assert main("models=[elsewhere,{a}] merge.weights=[3,1] resume=true") == 2, "their order is part of it"


def test_reward_models_keep_what_is_taken_from_their_scores(main: Main) -> None:
    set_key("r", reward_mean=2.0), set_key("q", reward_mean=-1.0)
    assert main("models=[{r},{q}]") == 0
    loaded: Any = AutoModelForSequenceClassification.from_pretrained("out/model")
    assert loaded.config.reward_mean == pytest.approx(0.5)
    torch.testing.assert_close(
        loaded.score.weight.data, (weights("r")["score.weight"] + weights("q")["score.weight"]) / 2
    )
    assert Summary.read(Path("out")).final["reward_mean"] == pytest.approx(0.5)
    assert from_given("algo.reward_model", "out", reward=True).kind == "run"


def test_part_of_the_way_back_to_the_start(main: Main) -> None:
    assert main("models=[{b}] merge.init={a} merge.towards_init=0.25 merge.dtype=bfloat16") == 0
    for name, value in weights("out/model").items():
        expected = 0.75 * weights("b")[name] + 0.25 * weights("a")[name]
        assert value.dtype == torch.bfloat16 and torch.equal(value, expected.to(torch.bfloat16))
    assert json.loads(Path("out/model/config.json").read_text("utf-8"))["dtype"] == "bfloat16"


def test_several_files_hold_what_one_does(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main("models=[{a},{b}] merge.method=slerp merge.init={b} hydra.run.dir=whole") == 0
    monkeypatch.setattr("rlhf.models.files.merged.SHARD", "50KB")
    assert main("models=[{a},{b}] merge.method=slerp merge.init={b} hydra.run.dir=parts") == 0
    assert len(list(Path("parts/model").glob("*.safetensors"))) > 2
    whole, parts = (AutoModelForCausalLM.from_pretrained(f"{run}/model").state_dict() for run in ("whole", "parts"))
    assert all(torch.equal(parts[name], value) for name, value in whole.items())
    monkeypatch.undo()


def of_another_shape() -> None:
    found = weights("b")
    save_file({**found, "transformer.ln_f.bias": found["transformer.ln_f.bias"][:-1]}, "b/model.safetensors")


def without_a_tensor() -> None:
    found = weights("b")
    del found["transformer.ln_f.bias"]
    save_file(found, "b/model.safetensors")


def not_finite() -> None:
    found = weights("b")
    found["transformer.ln_f.bias"][0] = torch.nan
    save_file(found, "b/model.safetensors")


def an_adapter() -> None:
    shutil.rmtree("b")
    Path("b").mkdir()
    Path("b/adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(Path("a").absolute())}), "utf-8"
    )
    save_file({"x.lora_A.weight": torch.zeros(1)}, "b/adapter_model.safetensors")


@pytest.mark.parametrize(
    ("line", "before", "said"),
    [
        ("", None, "models: "),
        ("models=[{a}]", None, "models: "),
        ("models=[{a},auto]", None, "models: auto"),
        ("models=[{a},nowhere]", None, "models.1: nowhere does not exist"),
        ("models=[{a},{r}]", None, "models.1: "),
        ("models=[{a},{gpt2}]", None, "models.1: "),
        ("models=[{a},{b}]", lambda: set_key("b", n_head=4), "n_head=4"),
        ("models=[{a},{b}]", lambda: set_key("b", tokenizer_fingerprint="other"), "models.1: the tokenizer"),
        ("models=[{a},{b}]", of_another_shape, "transformer.ln_f.bias"),
        ("models=[{a},{b}]", without_a_tensor, "transformer.ln_f.bias"),
        ("models=[{a},{b}]", not_finite, "transformer.ln_f.bias"),
        ("models=[{a},{b}]", an_adapter, "models.1: "),
        ("models=[{r},{q}]", lambda: set_key("q", step_separator="\n"), "q scores steps that end with"),
        ("models=[{a},{b}] merge.init={r} merge.towards_init=0.1", None, "merge.init: "),
        ("models=[{a},{b}] merge.init={a}", None, "merge.init: a would not be read"),
        ("models=[{a},{b}] merge.method=slerp", None, "merge.init: missing"),
        ("models=[{a},{b}] merge.towards_init=0.1", None, "merge.init: missing"),
        ("models=[{a},{b}] merge.towards_init=1", None, "merge.towards_init: 1"),
        ("models=[{a},{b}] merge.weights=[1]", None, "merge.weights: 1 weights for 2 models"),
        ("models=[{a},{b}] merge.weights=[1,0]", None, "merge.weights: [1.0, 0.0]"),
    ],
)
def test_what_can_t_be_merged_is_told_in_a_sentence(
    line: str, before: Callable[[], None] | None, said: str, main: Main, told: Callable[[], str]
) -> None:
    if before is not None:
        before()
    assert main(line) == 2
    assert said in (found := told()) and "\n" not in found
    assert not Path("out/model").exists()


def test_a_merge_reads_and_writes_as_much_as_what_it_is_made_of(tmp_path: Path) -> None:
    made_of, merged = tmp_path / "run", tmp_path / "merged"
    for folder, text in ((made_of, "data: {max_length: 99}\nrollout: {max_new_tokens: 7}\n"), (merged, "merge: {}\n")):
        folder.mkdir()
        (folder / "config.yaml").write_text(text, "utf-8")
    Summary(
        parents={"models.0": Parent("folder", tmp_path).record(), "models.1": Parent("run", made_of).record()}
    ).write(merged)
    assert lengths_of(Parent("run", merged)) == Lengths(99, 7)
