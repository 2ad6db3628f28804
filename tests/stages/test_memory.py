"""Every stage with adapters, in each precision, and with recomputed activations: what is trained, and what it costs."""

from __future__ import annotations

import csv
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lightning_modules import ppo
from lightning_modules.base import StageModule
from lightning_modules.updates import optimise
from rlhf.config import algorithms
from rlhf.runs import Summary
from tests.stages.conftest import starts

pytestmark = pytest.mark.ci

QUICK_ONES = ("sft", "reward", "dpo", "ppo")
STAGES = [pytest.param(name, marks=[] if name in QUICK_ONES else [pytest.mark.slow]) for name in algorithms()]
"""All algorithms; those that share their module's flow with one of the quick ones are tried with the slow tests."""
LORA = "model.adapter=lora model.lora_r=4 algo.lr=1e-2"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs that several tests build on."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def parents(main: Any, runs: Path) -> dict[str, str]:
    """A finished SFT run and a finished reward run, for the stages that build on them; made once."""
    sft, rm = runs / "sft", runs / "rm"
    if not rm.exists():
        assert main(f"algo=sft model.init=random train.max_steps=2 hydra.run.dir={sft}") == 0
        assert main(f"algo=reward train.max_steps=2 hydra.run.dir={rm} model.init={sft}") == 0
    return starts(sft, rm)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The latest run's `module` and `optimizer`."""
    seen: dict[str, Any] = {}
    right = StageModule.configure_optimizers

    def configure_optimizers(self: StageModule) -> Any:
        seen.update(module=self, optimizer=right(self))
        return seen["optimizer"]

    monkeypatch.setattr(StageModule, "configure_optimizers", configure_optimizers)
    yield seen


class Peak(TorchDispatchMode):
    """The largest number of bytes that tensors made within took up at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return out

    def add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.drop, storage._cdata, storage.nbytes())

    def drop(self, number: int, size: int) -> None:
        self.known.discard(number)
        self.now -= size


def column(directory: str | Path, name: str) -> list[float]:
    with open(Path(directory) / "metrics.csv", encoding="utf-8") as stream:
        return [float(row[name]) for row in csv.DictReader(stream) if row.get(name)]


def weights(directory: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(directory) / "model" / "model.safetensors")


def is_own(name: str) -> bool:
    return ".lora_" in name or "score." in name or "value_head." in name


# -- adapters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_only_adapters_and_heads_are_trained_and_resume_exactly(
    stage: str, main: Any, runs: Path, parents: dict[str, str], module: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = f"algo={stage} {parents[stage]} {LORA}"
    assert main(f"{command} hydra.run.dir=whole") == 0
    trained = [(n, p) for n, p in module["module"].named_parameters() if p.requires_grad]
    assert trained and all(is_own(name) for name, _ in trained)
    assert {id(p) for p in module["optimizer"].state} == {id(p) for _, p in trained}
    assert all(p.abs().max() > 0 for name, p in trained if ".lora_B." in name)
    base, merged = weights(runs / "sft"), weights("whole")
    # The reward model has a row more: its padding.
    moved = {n for n in base if n in merged and not torch.equal(base[n], merged[n][: len(base[n])])}
    assert moved == {n for n in base if n.endswith("weight") and ("attn.c_" in n or "mlp.c_" in n)}
    assert not any(".lora_" in name for name in merged)

    right = StageModule.training_step

    def killed(self: StageModule, step: Any, batch_idx: int) -> Any:
        if self.step == 5:
            raise RuntimeError("killed")
        return right(self, step, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(StageModule, "training_step", killed)
        assert main(f"{command} hydra.run.dir=parts") == 1
    assert main(f"{command} hydra.run.dir=parts resume=true") == 0
    assert Summary.read(Path("parts")).resumed_from == 4
    assert all(torch.equal(merged[name], weight) for name, weight in weights("parts").items())


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_ppo_has_one_backbone(
    critic: str, main: Any, parents: dict[str, str], module: dict[str, Any], capfd: Any
) -> None:
    """Where the reward model was an adapter on the same weights; its scores are those of its merged export."""
    assert main(f"algo=reward {parents['reward']} {LORA} hydra.run.dir=rm") == 0
    start = parents["ppo"].split()[0]
    command = f"algo=ppo {start} algo.reward_model=rm algo.critic={critic} train.max_steps=2 algo.kl_coef=0"
    assert main(f"{command} {LORA} hydra.run.dir=one") == 0
    stage = module["module"]
    found = stage.trained() | stage.frozen()
    assert len(found) == (4 if critic == "separate" else 3)
    backbones = [{p.data_ptr() for name, p in model.named_parameters() if not is_own(name)} for model in found.values()]
    assert all(backbone == backbones[0] for backbone in backbones)
    assert main(f"{command} algo.lr=1e-2 hydra.run.dir=many") == 0
    first = [column(name, "objective/score")[0] for name in ("one", "many")]
    assert first[0] == pytest.approx(first[1], abs=1e-4)  # the same samples, scored by the same reward model


def test_another_reward_model_brings_its_own_backbone_and_the_critic_stands_on_it(
    main: Any, parents: dict[str, str], module: dict[str, Any]
) -> None:
    assert main(f"algo=ppo {parents['ppo']} {LORA} train.max_steps=2 hydra.run.dir=run") == 0
    stage = module["module"]
    found = stage.trained() | stage.frozen()
    ours = {name: {p.data_ptr() for n, p in model.named_parameters() if not is_own(n)} for name, model in found.items()}
    assert ours["critic"] == ours["reward"] and ours["policy"] == ours["reference"]
    assert not ours["policy"] & ours["reward"]
    assert abs(column("run", "policy/ratio")[0] - 1) < 0.2


def test_pretraining_adapters_on_random_weights_is_refused(main: Any, capfd: Any) -> None:
    assert main("algo=pretrain model.adapter=lora") == 2
    assert "model.adapter: lora " in capfd.readouterr().err


# -- precision -----------------------------------------------------------------------------------------------------


FALLS = {"ppo": "value/loss"}


@pytest.mark.parametrize(
    "precision", ["bf16", *(pytest.param(p, marks=pytest.mark.slow) for p in ("fp32", "bf16-mixed"))]
)
@pytest.mark.parametrize("stage", STAGES)
def test_losses_fall_and_weights_and_moments_are_fp32(
    stage: str, precision: str, main: Any, parents: dict[str, str], module: dict[str, Any]
) -> None:
    loop = "train.max_steps=10 train.batch_size=16 train.val_every=null callbacks.samples=false data.limit=40"
    assert main(f"algo={stage} {parents[stage]} {loop} algo.lr=3e-3 strategy.precision={precision}") == 0
    directory = next(Path("outputs").rglob("metrics.csv")).parent
    losses = column(directory, FALLS.get(stage, "train/loss"))
    assert sum(losses[-3:]) / 3 < 0.95 * losses[0], losses
    assert all(p.dtype == torch.float32 for p in module["module"].parameters())
    moments = [m for state in module["optimizer"].state.values() for m in state.values() if m.numel() > 1]
    assert len(moments) == 2 * sum(p.requires_grad for p in module["module"].parameters())
    assert all(moment.dtype == torch.float32 for moment in moments)


@pytest.mark.parametrize("adapter", ["", LORA])
@pytest.mark.parametrize(("precision", "nearest"), [("fp32", 1e-4), ("bf16", 5e-3)])
def test_before_the_first_update_the_ratio_is_1(
    precision: str, nearest: float, adapter: str, main: Any, parents: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though minibatches are cut into other micro-batches than those that were scored; and all of it in fp32."""
    gaps: list[float] = []
    dtypes: set[torch.dtype] = set()
    autocast: set[bool] = set()
    right, advantages = ppo.policy_loss, ppo.PPOModule.estimate_advantages

    def policy_loss(logprobs: torch.Tensor, old: torch.Tensor, *rest: Any) -> Any:
        gaps.append(float((logprobs.detach() - old).abs().mean()))
        autocast.add(torch.is_autocast_enabled("cpu"))
        if not gaps[1:] and precision == "fp32":
            assert ((logprobs - old).exp() - 1).abs().max() < 1e-3
        dtypes.update(x.dtype for x in (logprobs, old, rest[0]))
        return right(logprobs, old, *rest)

    def estimate_advantages(module: ppo.PPOModule, episodes: Any) -> None:
        advantages(module, episodes)
        names = ("logprobs", "reference_logprobs", "values", "scores", "rewards", "advantages", "returns")
        dtypes.update(getattr(episodes, name).dtype for name in names)

    monkeypatch.setattr(ppo, "policy_loss", policy_loss)
    monkeypatch.setattr(ppo.PPOModule, "estimate_advantages", estimate_advantages)
    command = f"algo=ppo {parents['ppo']} {adapter} train.max_steps=1 train.batch_size=32 algo.minibatches=2"
    assert main(f"{command} strategy.precision={precision} train.tokens_per_microbatch=512") == 0
    assert gaps[0] <= nearest
    assert autocast == {precision != "fp32"}
    assert dtypes == {torch.float32}


# -- recomputed activations ----------------------------------------------------------------------------------------


def first_step(command: str, main: Any) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of the first update of a run of one step, and the peak of that step, in bytes."""
    peak = Peak()
    gradients: dict[str, torch.Tensor] = {}
    right = StageModule.training_step

    def training_step(self: StageModule, step: Any, batch_idx: int) -> Any:
        with peak:
            return right(self, step, batch_idx)

    step = optimise.clip_and_step

    def clip_and_step(stage: StageModule, *rest: Any) -> dict[str, float]:
        for name, parameter in stage.named_parameters():
            if parameter.grad is not None:
                gradients.setdefault(name, parameter.grad.clone())
        return step(stage, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageModule, "training_step", training_step)
        patch.setattr(optimise, "clip_and_step", clip_and_step)
        assert main(command) == 0
    return gradients, peak.peak


@pytest.mark.parametrize("stage", STAGES)
def test_recomputed_activations_give_the_same_gradients_for_less_memory(
    stage: str, main: Any, parents: dict[str, str]
) -> None:
    adapter = LORA if stage == "dpo" else ""  # both ways are recomputed in one of the stages
    loop = "train.max_steps=1 train.batch_size=32 train.val_every=null callbacks.samples=false algo.warmup_steps=0"
    command = f"algo={stage} {parents[stage]} {adapter} {loop} train.tokens_per_microbatch=4096"
    kept, high = first_step(f"{command} hydra.run.dir=kept", main)
    again, low = first_step(f"{command} strategy.gradient_checkpointing=true hydra.run.dir=again", main)
    assert kept.keys() == again.keys() and any(grad.abs().max() > 1e-4 for grad in kept.values())
    for name, grad in kept.items():
        torch.testing.assert_close(again[name], grad, atol=1e-6, rtol=1e-4)
    assert low < 0.85 * high, (low, high)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPU")
@pytest.mark.parametrize(("stage", "adapter"), [("sft", ""), ("ppo", LORA)])
def test_compiled_backbones_give_the_same_losses(stage: str, adapter: str, main: Any, parents: dict[str, str]) -> None:
    command = f"algo={stage} {parents[stage]} {adapter} train.max_steps=2 strategy.gradient_checkpointing=false"
    assert main(f"{command} hydra.run.dir=plain") == 0
    assert main(f"{command} strategy.compile=true hydra.run.dir=compiled") == 0
    for name in ("value/loss", "objective/score") if stage == "ppo" else ("train/loss", "val/loss"):
        plain, compiled = column("plain", name), column("compiled", name)
        assert len(plain) >= 2 and compiled == pytest.approx(plain, rel=1e-4, abs=1e-5)
