"""`plan.py`: what it prints, that it takes what `train.py` takes, and that it needs neither parents nor data."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml

from launch.app import Program
from launch.composition.compose import CONF, compose_point, hydra_session, to_config
from launch.planner import Point
from rlhf.capacity.flops import forward
from rlhf.capacity.footprint import KEPT
from rlhf.config import PlanConfig, PPOConfig, validate
from verbs.plan.capacity import Capacity, capacity_of
from verbs.plan.lengths import assumed_lengths, is_cheap, planned_rows
from verbs.plan.printed import count, operations, run_plan, size, time
from verbs.plan.shapes import shared_backbones

pytestmark = pytest.mark.ci

SMALL = ["model.architecture.n_embd=16", "model.architecture.n_layer=2", "model.architecture.n_head=2"]
LENGTHS = ["plan.prompt_tokens=40", "plan.response_tokens=20"]


def configuration(*overrides: str) -> PlanConfig:
    with hydra_session("plan"):
        config = to_config(compose_point(overrides, "plan"))
    validate(config)
    assert isinstance(config, PlanConfig)
    return config


@cache
def capacity(*overrides: str) -> Capacity:
    return capacity_of(configuration(*SMALL, *overrides))


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str, str]]:
    """`plan("algo=dpo")` runs the program in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def talk(point: Point, overrides: list[str]) -> None:
        """Plan."""
        run_plan(point.config)

    def run(line: str) -> tuple[int, str, str]:
        code = Program("plan", talk=talk).main(line.split())
        found = capsys.readouterr()
        assert list(tmp_path.iterdir()) == []
        return code, found.out, found.err.strip()

    return run


def test_ppo_on_shards_without_parents_or_data(plan: Callable[[str], tuple[int, str, str]]) -> None:
    line = " ".join(
        [
            *("algo=ppo model=gpt2", *SMALL, "strategy=fsdp strategy.devices=8 data=hh_rlhf data.max_length=128"),
            "rollout.max_new_tokens=32 train.max_steps=1000 plan.memory=40 plan.tflops=300 plan.utilisation=0.3",
            "plan.price_per_hour=2.5 hydra.run.dir=/nowhere resume=true",
        ]
    )
    code, out, err = plan(line)
    assert (code, err) == (0, "")
    assert "ppo of gpt2 on 8 GPUs, layout fsdp, fp32" in out
    assert "lengths from data.max_length=128: 96 + 32 tokens" in out
    assert "in an update of 8 rows, 1024 tokens" in out
    for model in ("policy", "critic", "reference", "reward"):
        assert re.search(rf"^{model} +0\.8\d M", out, re.MULTILINE), model
    for part in ("weights", "gradients", "optimiser", "gathered weights", "activations", "logits"):
        assert re.search(rf"^{part} ", out, re.MULTILINE), part
    assert "while sampling 8 at a time" in out
    assert "fits into 40.0 GB (plan.memory) with 10% left free" in out
    assert "largest train.tokens_per_microbatch: 1024, all tokens of a device's share of an update" in out
    assert re.search(r"^arithmetic of a step: \d.*sampling .*scoring .*learning .*8192 tokens", out, re.MULTILINE)
    assert re.search(r"^time of the run: .* for 1000 steps", out, re.MULTILINE)
    assert re.search(r"^cost: .* for the run, at 2.5 an hour a device", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("algo.lr=0", "algo.lr: 0 is out of range"),
        ("plan.memroy=3", "plan.memroy: unknown key.* did you mean plan.memory?"),
        ("algo=dpo algo.clip_value=0.1", "algo.clip_value: unknown key with algo=dpo; it belongs to algo=ppo"),
        ("plan.reserve=1", "plan.reserve: 1 is out of range"),
        ("-m algo=sft,dpo", "--multirun: .* does one thing at a time"),
        ("plan.prompt_tokens=120 plan.response_tokens=20", "plan.prompt_tokens: 120 does not fit; .* leave 108 tokens"),
        ("algo=ppo plan.response_tokens=60", "plan.response_tokens: 60 does not fit; .* leave 40 tokens"),
        ("model=hf model.path=/no/such/model", "model.path: the sizes of /no/such/model could not be read"),
        (
            "strategy=fsdp strategy.devices=2 strategy.tensor_parallel=2",
            "strategy.tensor_parallel: 2 ",
        ),
        ("strategy.devices=2", "strategy.devices: 2 with strategy.layout=single"),
    ],
)
def test_what_is_impossible_is_refused(line: str, said: str, plan: Callable[[str], tuple[int, str, str]]) -> None:
    code, out, err = plan(line)
    assert (code, out) == (2, "")
    assert re.search(said, err) and "\n" not in err


def test_a_file_or_a_library_that_is_elsewhere_is_not_asked_for() -> None:
    configuration("data=jsonl", "data.path=/on/the/cluster.jsonl")
    configuration("data=jsonl")
    configuration("rollout=vllm")
    configuration("algo=ppo", "algo.ptx_coef=0.1", "algo.ptx_path=/on/the/cluster.txt", "algo.reward_model=/nowhere")


def test_every_model_that_scores_is_planned_for_and_no_other(plan: Callable[[str], tuple[int, str, str]]) -> None:
    small = "algo=ppo model.init=random " + " ".join(SMALL)
    outs = [
        plan(f"{small} plan.tflops=1 {more}")[1]
        for more in ("", "reward=judge reward.endpoint.url=http://h/v1 reward.endpoint.model=m")
    ]
    assert re.search("^reward ", outs[0], re.MULTILINE) and not re.search("^reward ", outs[1], re.MULTILINE)
    assert all(re.search("^critic ", out, re.MULTILINE) for out in outs)

    def scoring(out: str) -> str:
        return re.search(r"scoring ([\d.]+ \w+)", out)[1]  # type: ignore[index]

    assert scoring(outs[0]) != scoring(outs[1])


def test_the_program_has_the_groups_and_the_order_of_train() -> None:
    """So that one can put plan.py for train.py into a command, and mean the same."""
    own, theirs = (yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("plan", "train"))
    assert own["defaults"] == ["/schema/plan", *theirs["defaults"][1:]]
    assert theirs["defaults"][0] == "/schema/train"


def test_lengths_of_data_that_is_cheap_to_read(tmp_path: Path) -> None:
    found = planned_rows(configuration("algo=reward", "train.epochs=2", "train.batch_size=4"))
    assert found.source.startswith("data=assistant, ") and len(found.steps) == 8
    examples = int(found.source.split()[1])
    assert found.total == -(-2 * examples // 4)
    assert len({row.length for rows in found.steps for row in rows}) > 5
    file = tmp_path / "big.jsonl"
    file.touch()
    assert is_cheap(configuration("data=jsonl", f"data.path={file}"))
    with file.open("wb") as out:
        out.truncate(10**9)
    assert not is_cheap(configuration("data=jsonl", f"data.path={file}"))
    assert not is_cheap(configuration("data=hh_rlhf"))


def test_lengths_that_are_assumed() -> None:
    assert assumed_lengths(configuration("algo=pretrain")) == (1, 63)
    assert assumed_lengths(configuration("algo=sft", "rollout.max_new_tokens=127")) == (64, 64)
    assert assumed_lengths(configuration("algo=ppo")) == (88, 40)
    assert assumed_lengths(configuration("algo=dpo", *LENGTHS)) == (40, 20)
    (rows,) = planned_rows(configuration("algo=ppo", "algo.samples_per_prompt=4", *LENGTHS)).steps
    assert len(rows) == 32 and {row.length for row in rows} == {40 + 4 * 20}


def test_micro_batches_are_those_of_a_device() -> None:
    options = ["algo=sft", "train.batch_size=16", "train.tokens_per_microbatch=240", *LENGTHS]
    alone, two = capacity(*options), capacity(*options, "strategy=ddp", "strategy.devices=2")
    assert [len(micro) for micro in alone.updates[0]] == [4, 4, 4, 4] and alone.accumulating
    assert [len(micro) for micro in two.updates[0]] == [4, 4]
    assert not capacity(*options, "train.tokens_per_microbatch=960").accumulating


def test_what_raft_learns_from_is_one_response_of_each_prompt() -> None:
    options = ["train.batch_size=32", "algo.samples_per_prompt=8", "algo.minibatches=1", *LENGTHS]
    raft, all_of_them = capacity("algo=raft", *options), capacity("algo=rloo", *options)
    assert (raft.update_tokens, all_of_them.update_tokens) == (4 * (40 + 20), 4 * (40 + 8 * 20))
    assert raft.peak.total < all_of_them.peak.total
    assert raft.arithmetic["scoring"] == all_of_them.arithmetic["scoring"]
    assert raft.arithmetic["learning"] < 0.5 * all_of_them.arithmetic["learning"]


def test_a_reference_that_is_not_kept_takes_no_memory() -> None:
    usual = ["algo=grpo", "algo.kl_coef=0", *LENGTHS]
    whole, without = capacity(*usual), capacity(*usual, "algo.reference=false")
    assert whole.sizes.keys() - without.sizes.keys() == {"reference"}
    assert whole.peak.total - without.peak.total == pytest.approx(4 * whole.sizes["reference"].total)


def test_the_largest_micro_batch_just_fits() -> None:
    """Rows of 60 tokens, in memory for 30 and a half of them."""
    options = ["algo=sft", "train.batch_size=64", *LENGTHS, "plan.reserve=0"]
    memory = capacity(*options).line.bytes(1830)
    found = capacity(*options, f"plan.memory={memory / 1e9:.12f}")
    assert found.largest == pytest.approx(1830, abs=1) and found.largest < found.update_tokens
    for rows, fits in ((30, True), (32, False)):
        other = capacity(*options, f"train.tokens_per_microbatch={60 * rows}")
        assert len(other.heaviest) == rows
        assert (other.stage.update(other.log, accumulating=True).total <= memory) == fits


def test_what_saves_memory_saves_memory() -> None:
    usual = ["algo=ppo", *LENGTHS, "plan.memory=80"]
    whole = capacity(*usual).peak.total
    assert capacity(*usual, "algo.critic=shared").peak.total < whole
    assert capacity(*usual, "strategy.gradient_checkpointing=true").peak.total < whole
    sharded = capacity(*usual, "strategy=fsdp", "strategy.devices=4")
    assert sharded.stage.layout.shards == 4 and sharded.peak.of("weights") < capacity(*usual).peak.of("weights")
    lora = capacity(*usual, "model.adapter=lora", "model.lora_r=2", "model.init=pretrained", "model.path=x")
    assert lora.peak.of("optimiser") < 0.2 * capacity(*usual).peak.of("optimiser")
    assert lora.peak.of("weights", "reference") == 0
    assert lora.arithmetic["learning"] < 0.75 * capacity(*usual).arithmetic["learning"]


def test_documents_of_ppo_ptx_are_counted() -> None:
    usual = ["algo=ppo", *LENGTHS, "train.tokens_per_microbatch=256"]
    plain, mixed = capacity(*usual), capacity(*usual, "algo.ptx_coef=0.1")
    assert [memory.phase for memory in mixed.phases] == ["update", "documents", "sampling"]
    assert mixed.phases[1].of("activations", "policy") > 0 == mixed.phases[1].of("activations", "critic")
    main = mixed.stage.trained["policy"].shape
    extra = 2 * 2 * 128 * 3 * forward(main, 1, [127], logits=True)  # epochs, minibatches, documents
    assert mixed.arithmetic["learning"] - plain.arithmetic["learning"] == pytest.approx(extra)


def test_time_is_arithmetic_over_speed_and_sampling_at_least_its_reading() -> None:
    options = ["algo=ppo", *LENGTHS, "strategy=ddp", "strategy.devices=2", "plan.tflops=2", "plan.utilisation=0.5"]
    found = capacity(*options)
    for part, seconds in found.seconds.items():
        assert seconds == pytest.approx(found.arithmetic[part] / 2e12)
    slow = capacity(*options, "plan.bandwidth=0.001")
    assert slow.seconds["sampling"] == pytest.approx(slow.read_in_sampling / 1e6)
    policy = slow.stage.trained["policy"]
    assert slow.read_in_sampling > 20 * 4 * policy.total  # 64 of 128 episodes a device, all at once, 20 tokens each
    assert slow.seconds["learning"] == found.seconds["learning"]
    again = capacity(*options, "strategy.gradient_checkpointing=true")
    assert again.seconds["learning"] == pytest.approx(4 / 3 * found.seconds["learning"])


def test_numbers_as_people_write_them() -> None:
    assert [size(n) for n in (12, 3.2e6, 45.67e9)] == ["12 B", "3.20 MB", "45.7 GB"]
    assert [count(n) for n in (1.5576e9, 940_000)] == ["1.56 B", "0.94 M"]
    assert [operations(n) for n in (1.5e9, 8.7e14)] == ["1.5 GFLOP", "870 TFLOP"]
    assert [time(n) for n in (0.05, 3, 300, 10_000)] == ["50 ms", "3.00 s", "5.0 min", "2.8 h"]


def test_copies_that_are_kept_are_counted() -> None:
    line = ("algo=ppo", "algo.critic=shared", "algo.reference_sync_steps=5", *LENGTHS)
    found = [capacity(*line, *more).stage.lasting("update", gradients=False) for more in ((), ("algo.ema_decay=0.9",))]
    policy = capacity(*line).sizes["policy"]
    assert found[0].of(KEPT) == 4 * capacity(*line).sizes["reference"].total
    assert found[1].of(KEPT) - found[0].of(KEPT) == 4 * policy.trainable


def test_another_reference_has_a_backbone_of_its_own() -> None:
    config = PlanConfig(algo=PPOConfig())
    config.model.adapter = "lora"
    assert shared_backbones(config) == {"reference", "critic"}
    config.algo.reference_model = "RUN"  # type: ignore[attr-defined]
    assert shared_backbones(config) == {"critic"}
