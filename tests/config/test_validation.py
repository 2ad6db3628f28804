"""Every refusal, read as a user reads it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rlhf.config import (
    CallbacksConfig,
    DataConfig,
    DPOConfig,
    LoopConfig,
    ModelConfig,
    PPOConfig,
    PretrainConfig,
    RewardConfig,
    RolloutConfig,
    SFTConfig,
    StrategyConfig,
    TrainConfig,
    validate,
)
from rlhf.config.algorithms.grpo import GRPOConfig
from rlhf.config.algorithms.reinforce import ReinforceConfig
from rlhf.errors import ConfigError

GPT2 = {"model_type": "gpt2", "n_positions": 1024}
MODEL = ModelConfig(tokenizer="tiny", architecture=GPT2)


def lora(**changes: Any) -> ModelConfig:
    return dataclasses.replace(MODEL, **{"adapter": "lora", **changes})


def config(**sections: Any) -> TrainConfig:
    return dataclasses.replace(TrainConfig(model=MODEL), **sections)


@pytest.mark.parametrize("algo", [SFTConfig(), RewardConfig(), DPOConfig(), PPOConfig()])
def test_defaults_are_valid(algo: Any) -> None:
    validate(config(algo=algo))


def split(**changes: Any) -> StrategyConfig:
    return dataclasses.replace(StrategyConfig(layout="fsdp", devices=4, tensor_parallel=2), **changes)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": lora(adapter="none", lora_r=8)}, "model.lora_r: 8 would do nothing; add model.adapter=lora"),
    ({"model": lora(adapter="none", lora_targets=["c_attn", "c_fc"])}, "model.lora_targets: c_attn,c_fc would do"),
    ({"model": lora(lora_targets=[])}, "model.lora_targets: empty; name layers, or pass"),
    ({"model": lora(lora_r=0)}, "model.lora_r: 0 is out of range, must be ≥ 1"),
    (
        {"model": lora(), "algo": PretrainConfig()},
        "model.adapter: lora ",
    ),
    ({"model": lora(adapter="none", quantize="4bit")}, "model.quantize: 4bit weights can't be trained themselves; add"),
    ({"model": lora(quantize="4bit", init="random")}, "model.quantize: 4bit is for weights that were trained"),
    (
        {"model": lora(quantize="8bit"), "strategy": StrategyConfig(accelerator="cpu")},
        "model.quantize: 8bit needs a GPU, and this is strategy.accelerator=cpu",
    ),
    (
        {"model": lora(quantize="8bit"), "strategy": StrategyConfig(layout="fsdp")},
        "model.quantize: 8bit weights can't be sharded; with strategy.layout=fsdp",
    ),
    (
        {"model": lora(quantize="4bit"), "algo": PPOConfig(), "rollout": RolloutConfig(engine="vllm")},
        "model.quantize: 4bit with rollout.engine=vllm would sample from other weights",
    ),
    (
        {"strategy": StrategyConfig(accelerator="cpu", activation_offload=True)},
        "strategy.activation_offload: true moves activations from a GPU to the host",
    ),
    ({"algo": PPOConfig(kl_coef=-1)}, "algo.kl_coef: -1 is out of range, must be ≥ 0"),
    ({"algo": PPOConfig(kl_coef=float("nan"))}, "algo.kl_coef: nan is out of range, must be ≥ 0"),
    ({"algo": PPOConfig(clip_value=-0.1)}, "algo.clip_value: -0.1 is out of range, must be > 0"),
    ({"algo": SFTConfig(lr=0)}, "algo.lr: 0 is out of range, must be > 0, ≤ 1"),
    (
        {"algo": DPOConfig(loss="sigmod")},
        "algo.loss: 'sigmod' is not one of sigmoid | hinge | ipo",
    ),
    ({"seed": -1}, "seed: -1 is out of range, must be ≥ 0, ≤ 4294967295"),
    ({"strategy": StrategyConfig(devices="many")}, "strategy.devices: 'many' is not one of auto or ≥ 1"),
    ({"strategy": StrategyConfig(devices=0)}, "strategy.devices: 0 is out of range, must be auto or ≥ 1"),
    (
        {"strategy": StrategyConfig(devices=2)},
        "strategy.devices: 2 with strategy.layout=single, which uses one; choose strategy=ddp",
    ),
    ({"strategy": StrategyConfig(nodes=2)}, "strategy.nodes: 2 with strategy.layout=single"),
    ({"strategy": StrategyConfig(shard_size=2)}, "strategy.shard_size: 2 requires strategy=fsdp or zero2"),
    ({"strategy": StrategyConfig(cpu_offload=True)}, "strategy.cpu_offload: True requires strategy=fsdp or zero2"),
    (
        {"strategy": StrategyConfig(layout="fsdp", devices=4, shard_size=3)},
        "strategy.shard_size: 3 does not divide strategy.devices=4",
    ),
    ({"strategy": StrategyConfig(tensor_parallel=0)}, "strategy.tensor_parallel: 0 is out of range, must be ≥ 1"),
    (
        {"strategy": StrategyConfig(layout="ddp", devices=2, tensor_parallel=2)},
        "strategy.tensor_parallel: 2 requires strategy=fsdp or zero2; with strategy.layout=ddp leave it out",
    ),
    (
        {"strategy": split(devices=3)},
        "strategy.tensor_parallel: 2 does not divide strategy.devices=3 times strategy.nodes=1",
    ),
    ({"strategy": split(shard_size=2)}, "strategy.tensor_parallel: 2 with strategy.shard_size=2 would make a mesh"),
    ({"strategy": split(), "model": lora()}, "strategy.tensor_parallel: 2 does not split layers that carry adapters"),
    ({"strategy": split(compile=True)}, "strategy.tensor_parallel: 2 with strategy.compile=true is not supported"),
    (
        {"strategy": split(activation_offload=True)},
        "strategy.tensor_parallel: 2 with strategy.activation_offload=true is not supported",
    ),
    (
        {"algo": PPOConfig(samples_per_prompt=16), "strategy": split(), "train": LoopConfig(batch_size=16)},
        "train.batch_size: 16 episodes are 1 prompts with algo.samples_per_prompt=16, fewer than the 2 groups of "
        "strategy.tensor_parallel=2 processes",
    ),
    (
        {
            "algo": PPOConfig(samples_per_prompt=8),
            "strategy": StrategyConfig(layout="ddp", devices=2),
            "train": LoopConfig(batch_size=8),
        },
        "train.batch_size: 8 episodes are 1 prompts with algo.samples_per_prompt=8, fewer than the 2 processes",
    ),
    ({"model": dataclasses.replace(MODEL, name="a=b")}, "model.name: 'a=b' can't be part of a directory's name"),
    ({"data": DataConfig(name="../x")}, "data.name: '../x' can't be part of a directory's name"),
    ({"data": DataConfig(path="x.jsonl")}, "data.path: x.jsonl would not be read with data=assistant; add data=jsonl"),
    ({"data": DataConfig(name="jsonl", source="file")}, "data.path: missing; data=jsonl needs data.path=FILE"),
    ({"data": DataConfig(name="hub", source="hub")}, "data.path: missing; data=hub needs data.path=OWNER/NAME"),
    ({"data": DataConfig(source="file", path="/no/such.jsonl")}, "data.path: /no/such.jsonl does not exist"),
    ({"data": DataConfig(source="hub", path="no/such.jsonl.gz")}, "data.path: no/such.jsonl.gz does not exist"),
    (
        {"data": DataConfig(val_fraction=0.5, test_fraction=0.5)},
        "data.val_fraction: 0.5 and data.test_fraction: 0.5 leave nothing to train on; their sum must be below 1",
    ),
    (
        {"data": DataConfig(max_length=2048)},
        "data.max_length: 2048 is longer than the model's context of 1024 tokens; pass data.max_length=1024 or less",
    ),
    (
        {"algo": PPOConfig(), "rollout": RolloutConfig(max_new_tokens=512)},
        "rollout.max_new_tokens: 512 leaves no room for a prompt within data.max_length=512; it must be smaller",
    ),
    ({"rollout": RolloutConfig(max_new_tokens=600)}, "rollout.max_new_tokens: 600 leaves no room"),
    ({"model": dataclasses.replace(MODEL, init="pretrained")}, "model.init: pretrained needs model.path"),
    ({"model": ModelConfig(name="hf", init="random", path="a/b")}, "model.init: random needs model.architecture"),
    ({"model": ModelConfig(name="hf")}, "model.path: missing; model=hf needs model.path=NAME or model.path=FOLDER"),
    (
        {"model": ModelConfig(architecture=GPT2)},
        "model.tokenizer: auto takes the tokenizer of model.path, which is not set",
    ),
    ({"train": LoopConfig(max_steps=None, epochs=None)}, "train.max_steps: null, and train.epochs is null too"),
    (
        {"algo": SFTConfig(warmup_steps=10), "train": LoopConfig(max_steps=10)},
        "algo.warmup_steps: 10 does not end before train.max_steps=10",
    ),
    (
        {"algo": DPOConfig(loss="ipo", label_smoothing=0.1)},
        "algo.label_smoothing: 0.1 is defined for algo.loss=sigmoid",
    ),
    (
        {"algo": DPOConfig(loss="hinge", label_smoothing=0.1)},
        "algo.label_smoothing: 0.1 is defined for algo.loss=sigmoid",
    ),
    (
        {"algo": PPOConfig(), "rollout": RolloutConfig(top_k=50)},
        "rollout.top_k: 50 would sample from another distribution",
    ),
    (
        {"algo": PPOConfig(), "rollout": RolloutConfig(top_p=0.9)},
        "rollout.top_p: 0.9 would sample from another distribution",
    ),
    ({"algo": PPOConfig(), "rollout": RolloutConfig(temperature=0)}, "rollout.temperature: 0 is greedy"),
    (
        {"algo": PPOConfig(minibatches=5), "train": LoopConfig(batch_size=32)},
        "train.batch_size: 32 episodes can't be divided by algo.minibatches=5; pass a multiple of 5, such as 30",
    ),
    (
        {"algo": PPOConfig(samples_per_prompt=4, minibatches=4), "train": LoopConfig(batch_size=8)},
        "algo.minibatches: 4 is more than the 2 prompts of an iteration",
    ),
    (
        {"algo": PPOConfig(samples_per_prompt=64), "train": LoopConfig(batch_size=32)},
        "train.batch_size: 32 episodes can't be divided by algo.samples_per_prompt=64;",
    ),
    (
        {"algo": PPOConfig(kl_controller="adaptive", kl_in="loss")},
        "algo.kl_controller: adaptive steers the KL penalty in the reward; with algo.kl_in=loss it must be fixed",
    ),
    (
        {"algo": PPOConfig(reference=False)},
        "algo.kl_coef: 0.05 asks for the KL to a reference",
    ),
    (
        {"algo": PPOConfig(reference=False, kl_coef=0, kl_guard="stop")},
        "algo.kl_guard: stop asks for the KL to a reference",
    ),
    (
        {"algo": PPOConfig(reference=False, kl_coef=0, kl_in="loss")},
        "algo.kl_estimator: full asks for the KL to a reference",
    ),
    (
        {"algo": PPOConfig(kl_controller="adaptive", kl_horizon=6)},
        "algo.kl_horizon: 6 is too short for 32 episodes an iteration",
    ),
    (
        {"algo": PPOConfig(kl_controller="adaptive", kl_coef=0)},
        "algo.kl_coef: 0 stays 0 under algo.kl_controller=adaptive",
    ),
    (
        {"algo": PPOConfig(critic_warmup=5), "train": LoopConfig(max_steps=5)},
        "algo.critic_warmup: 5 iterations are all of train.max_steps=5",
    ),
    (
        {"algo": PPOConfig(frozen_dtype="bf16", reference_sync_steps=2, reference_mixup=0.1)},
        "algo.frozen_dtype: with algo.reference_mixup=0.1",
    ),
    ({"algo": PPOConfig(frozen_dtype="bf16"), "strategy": split()}, "algo.frozen_dtype: with strategy.layout=fsdp"),
    (
        {"algo": PPOConfig(frozen_dtype="bf16"), "model": ModelConfig(name="hf", path="a/b", adapter="lora")},
        "algo.frozen_dtype: with model.adapter=lora",
    ),
    (
        {"algo": GRPOConfig(variant="gspo", aggregate="token")},
        "algo.aggregate: token is a mean of tokens' losses, and algo.variant=gspo",
    ),
    ({"algo": GRPOConfig(variant="cispo", clip_epsilon=0.2)}, "algo.clip_epsilon: 0.2 would be ignored"),
    ({"algo": GRPOConfig(variant="cispo", dual_clip=3)}, "algo.dual_clip: 3 would be ignored"),
    ({"algo": GRPOConfig(overlong_buffer=4096)}, "algo.overlong_buffer: 4096 tokens are more than"),
    ({"algo": GRPOConfig(samples_per_prompt=1)}, "algo.samples_per_prompt: 1"),
    (
        {"algo": ReinforceConfig(variant="plus_plus_baseline", samples_per_prompt=1)},
        "algo.samples_per_prompt: 1 ",
    ),
    ({"algo": PPOConfig(ptx_path="x.txt")}, "algo.ptx_path: x.txt "),
    ({"algo": PPOConfig(ptx_coef=1, ptx_path="/no/x.txt")}, "algo.ptx_path: /no/x.txt does not exist"),
]


@pytest.mark.parametrize(("sections", "sentence"), REFUSED, ids=[sentence[:40] for _, sentence in REFUSED])
def test_refusals(sections: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(config(**sections))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


ALLOWED: list[dict[str, Any]] = [
    {"strategy": StrategyConfig(devices=2, layout="ddp")},
    {"strategy": split()},
    # Two prompts, and two groups.
    {"algo": PPOConfig(samples_per_prompt=8), "strategy": split(), "train": LoopConfig(batch_size=16)},
    {"rollout": RolloutConfig(top_k=50, top_p=0.9, temperature=0)},
    {"algo": RewardConfig(), "rollout": RolloutConfig(max_new_tokens=600)},
    {"callbacks": CallbacksConfig(samples=False), "rollout": RolloutConfig(max_new_tokens=600)},
    {"algo": DPOConfig(label_smoothing=0.1)},
    {"algo": PPOConfig(ptx_coef=1)},
    {"algo": PPOConfig(critic_lr=1e-3)},
    {"algo": PPOConfig(critic="shared", critic_lr=1e-3)},
    {"algo": GRPOConfig(variant="gspo", clip_epsilon=0.01)},
    {"algo": ReinforceConfig(variant="remax", samples_per_prompt=1)},
    {"algo": SFTConfig(warmup_steps=9), "train": LoopConfig(max_steps=10)},
    {"train": LoopConfig(max_steps=1)},
    {"data": DataConfig(source="hub", path="Anthropic/hh-rlhf")},
    {"model": ModelConfig(name="hf", path="a/b")},
    {"model": ModelConfig(name="hf", init="some/folder")},
]


@pytest.mark.parametrize("sections", ALLOWED, ids=[", ".join(sections) for sections in ALLOWED])
def test_what_is_near_a_refusal_but_fine(sections: dict[str, Any]) -> None:
    validate(config(**sections))


def test_a_missing_file_is_told_with_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    with pytest.raises(ConfigError, match=r"trian\.jsonl does not exist; did you mean train\.jsonl\?"):
        validate(config(data=DataConfig(source="file", path=str(tmp_path / "trian.jsonl"))))


def test_ptx_on_ones_own_data_needs_text(tmp_path: Path) -> None:
    data = DataConfig(source="file", path=str(tmp_path))
    with pytest.raises(ConfigError, match=r"algo\.ptx_coef: 0\.5 mixes in a pretraining loss, which needs text"):
        validate(config(algo=PPOConfig(ptx_coef=0.5), data=data))
    validate(config(algo=PPOConfig(ptx_coef=0.5, ptx_path=str(tmp_path)), data=data))


def test_vllm_samples_in_one_process_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = RolloutConfig(engine="vllm")
    monkeypatch.setattr("rlhf.config.validation.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"rollout\.engine: vllm is not installed here"):
        validate(config(rollout=vllm))
    monkeypatch.setattr("rlhf.config.validation.find_spec", lambda name: name)
    validate(config(rollout=vllm))
    with pytest.raises(ConfigError, match=r"rollout\.engine: vllm has one copy .* strategy\.layout=ddp"):
        validate(config(rollout=vllm, strategy=StrategyConfig(layout="ddp", devices=2)))


def test_a_local_copy_of_a_hub_data_set_is_read_as_a_file(tmp_path: Path) -> None:
    assert DataConfig(source="hub", path=str(tmp_path)).is_local
    assert not DataConfig(source="hub", path="Anthropic/hh-rlhf").is_local
    assert DataConfig(source="file", path="x").is_local
    assert not DataConfig().is_local


def test_quantised_weights_need_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    quantised = config(model=lora(quantize="4bit", init="folder"))
    monkeypatch.setattr("rlhf.config.rules.memory.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"model.quantize: 4bit needs bitsandbytes; pip install -e '.\[quant\]'"):
        validate(quantised)
    monkeypatch.setattr("rlhf.config.rules.memory.find_spec", lambda name: object())
    validate(quantised)
