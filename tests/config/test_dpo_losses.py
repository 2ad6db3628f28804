from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest

from rlhf.config import AlgoConfig, DPOConfig, ModelConfig, TrainConfig
from rlhf.config.algorithms import dpo as facts
from rlhf.errors import ConfigError
from rlhf.objectives.preference import dpo as formulas
from rlhf.objectives.preference.divergences import Divergence
from rlhf.runs.identity import run_id


def refuse(algo: DPOConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        algo.rules(TrainConfig(algo=algo))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "key", "named"),
    [
        ({"loss": []}, "algo.loss", "[sigmoid,sft]"),
        ({"loss": 3}, "algo.loss", "3"),
        ({"loss": ["sigmoid", "sfft"]}, "algo.loss", "did you mean sft?"),
        ({"loss": ["ipo", "ipo"]}, "algo.loss", "ipo"),
        ({"loss": "sft"}, "algo.loss", "algo=sft"),
        ({"loss": ["sft"]}, "algo.loss", "algo=sft"),
        ({"loss": ["sigmoid", "sft"], "loss_weights": [1.0]}, "algo.loss_weights", "1 weights for 2"),
        ({"loss": "sigmoid", "loss_weights": [1.0]}, "algo.loss_weights", "list"),
        ({"loss": ["sigmoid", "sft"], "loss_weights": [1.0, -0.2]}, "algo.loss_weights", "-0.2"),
        ({"loss": ["sigmoid", "hinge"], "label_smoothing": 0.1}, "algo.label_smoothing", "hinge"),
        ({"loss": "apo_zero", "label_smoothing": 0.1}, "algo.label_smoothing", "apo_zero"),
        ({"loss": "exo_pair"}, "algo.label_smoothing", "0.001"),
        ({"loss": "nca_pair", "divergence": "js"}, "algo.divergence", "nca_pair"),
        ({"loss": ["sigmoid", "apo_down"], "divergence": "js"}, "algo.divergence", "apo_down"),
        ({"beta_end": 0.5}, "algo.beta_schedule", "beta_end=0.5"),
        ({"beta_schedule": "linear"}, "algo.beta_schedule", "linear"),
    ],
)
def test_what_is_not_defined_is_refused(keys: dict[str, Any], key: str, named: str) -> None:
    said = refuse(DPOConfig(**keys))
    assert said.startswith(f"{key}: ") and named in said


@pytest.mark.parametrize(
    "keys",
    [
        *({"loss": loss} for loss in facts.LOSSES if loss not in ("sft", "exo_pair")),
        *({"loss": loss, "label_smoothing": 0.1} for loss in facts.SMOOTHED),
        {"loss": ["sigmoid", "sft"], "label_smoothing": 0.1},
        {"loss": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2], "divergence": "js", "ld_alpha": 0.5},
        {"beta_schedule": "cosine", "beta_end": 0.01},
    ],
    ids=str,
)
def test_what_is_defined_passes(keys: dict[str, Any]) -> None:
    algo = DPOConfig(**keys)
    algo.rules(TrainConfig(algo=algo))


def test_facts_are_those_of_the_formulas() -> None:
    """They stand twice, since configuration knows no torch."""
    assert set(facts.LOSSES) == {*get_args(formulas.DPOLoss), *DPOConfig.SORTED, "sft"}
    assert (*formulas.SMOOTHED, *DPOConfig.SORTED) == facts.SMOOTHED
    assert {*facts.WITH_MARGIN} == {*formulas.WITH_MARGIN, "sft"}
    assert {*facts.OF_DIFFERENCES} == {*formulas.OF_DIFFERENCES, "sft"}
    assert DPOConfig.__dataclass_fields__["divergence"].metadata["key"].choices == get_args(Divergence)


def test_beta_goes_from_first_to_last_update() -> None:
    linear = DPOConfig(beta=0.1, beta_end=0.5, beta_schedule="linear")
    assert [linear.beta_at(step, 5) for step in (0, 1, 4, 9)] == pytest.approx([0.1, 0.2, 0.5, 0.5])
    cosine = DPOConfig(beta=0.1, beta_end=0.5, beta_schedule="cosine")
    assert [cosine.beta_at(step, 5) for step in (0, 2, 4)] == pytest.approx([0.1, 0.3, 0.5])
    assert cosine.beta_at(1, 5) == pytest.approx(0.1 + 0.4 * (1 - 2**-0.5) / 2)
    assert DPOConfig(beta=0.3).beta_at(7, 9) == 0.3
    assert linear.beta_at(0, 1) == 0.1


@pytest.mark.parametrize("keys", [{"loss": "ipo"}, {"loss": ["sigmoid", "robust"]}, {"label_smoothing": 0.1}], ids=str)
def test_margins_are_refused_where_no_loss_leaves_room_for_them(keys: dict[str, Any]) -> None:
    assert refuse(DPOConfig(margin_coef=1.0, **keys)).startswith("algo.margin_coef: 1 ")


def test_what_sorts_a_batch_weighs_no_pairs() -> None:
    assert refuse(DPOConfig(loss=["sigmoid", "aot"], weighting="wpo")).startswith("algo.weighting: wpo ")
    assert refuse(DPOConfig(loss="aot", margin_coef=1)).startswith("algo.margin_coef: 1 ")
    assert refuse(DPOConfig(loss="aot_unpaired", divergence="js")).startswith("algo.divergence: js ")


def test_a_reference_that_moves_is_no_adapters() -> None:
    algo = DPOConfig(reference_sync_steps=5)
    with pytest.raises(ConfigError, match=r"^algo.reference_sync_steps: 5 "):
        algo.rules(TrainConfig(algo=algo, model=ModelConfig(adapter="lora")))
    algo.rules(TrainConfig(algo=algo))


def test_passes_over_the_rows_of_an_update() -> None:
    """One more to sort by, and one more of a live reference for each of the policy's."""
    assert DPOConfig().more_passes() == 0 and DPOConfig().stores_reference()
    assert DPOConfig(loss="aot").more_passes() == 1
    moving = DPOConfig(reference_sync_steps=3)
    assert moving.more_passes() == 1 and not moving.stores_reference()
    assert DPOConfig(loss="aot", reference_sync_steps=3).more_passes() == 3


def test_a_run_keeps_its_id_where_nothing_new_is_set() -> None:
    shared = {field.name for field in dataclasses.fields(AlgoConfig)}
    now = dataclasses.asdict(DPOConfig())
    before = {name: now[name] for name in shared | {"beta", "loss", "label_smoothing"}}
    assert run_id({"algo": now}, {}) == run_id({"algo": before}, {})
    assert run_id({"algo": now | {"loss": ["sigmoid", "sft"]}}, {}) != run_id({"algo": now}, {})
    assert run_id({"algo": now | {"ld_alpha": 0.5}}, {}) != run_id({"algo": now}, {})
