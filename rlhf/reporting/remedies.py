"""What to turn where a symptom is seen: each remedy with its keys, told only where the algorithm has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from rlhf.config import AlgoConfig, ScoringConfig, algorithms

Text = tuple[str, str]
"""English, Chinese."""
Algorithm = type[AlgoConfig]


@dataclass(frozen=True)
class Remedy:
    """One thing to do, in a sentence.

    Attributes:
        keys: dotted; the remedy is for runs that have all of them.
        suits: what else must be so of the algorithm.
    """

    text: Text
    keys: tuple[str, ...] = ()
    suits: Callable[[Algorithm], bool] = lambda algo: True


def has_key(algo: Algorithm, key: str) -> bool:
    """Whether a dotted key means something to an algorithm: `algo.*` where its class has it, `reward.*` where scores
    are learnt from, `rollout.*` where it learns from its own samples; others everywhere."""
    section, _, name = key.partition(".")
    if section == "algo":
        return name in {field.name for field in dataclasses.fields(algo)}
    if section == "reward":
        return algo.needs_reward and name in {field.name for field in dataclasses.fields(ScoringConfig)}
    return algo.on_policy if section == "rollout" else True


def remedies(code: str, algo: str = "") -> list[Text]:
    """Of a finding's code, those that a run of this algorithm can take; all of them where it is not known."""
    known = algorithms().get(algo)
    return [
        remedy.text
        for remedy in REMEDIES[code]
        if known is None or (all(has_key(known, key) for key in remedy.keys) and remedy.suits(known))
    ]


def _offline(algo: Algorithm) -> bool:
    return not algo.on_policy


def _pulled(algo: Algorithm) -> bool:
    """Whether its β is the price of leaving the reference; in SimPO and CPO it is none."""
    return algo.needs_reference and not algo.on_policy


KL_COEF = Remedy(("Raise algo.kl_coef.", "调高 algo.kl_coef。"), ("algo.kl_coef",))
BETA = Remedy(("Raise algo.beta.", "调高 algo.beta。"), ("algo.beta",), _pulled)
LR = Remedy(("Lower algo.lr.", "调低 algo.lr。"), ("algo.lr",))
STEER = Remedy(
    (
        "Or let it steer itself: algo.kl_controller=adaptive with algo.kl_target.",
        "或让它自行调节：algo.kl_controller=adaptive 配合 algo.kl_target。",
    ),
    ("algo.kl_controller", "algo.kl_target"),
)
STOP_AT = Remedy(
    (
        "End such runs early: train.stop_at with a max for val/kl.",
        "提前结束：在 train.stop_at 里给 val/kl 设上限（max）。",
    ),
    ("train.stop_at",),
    lambda algo: algo.on_policy,
)
ENSEMBLE = Remedy(
    (
        "Score by several reward models: algo.reward_model=[RUN,RUN,RUN] with reward.combine=min.",
        "用多个奖励模型打分：algo.reward_model=[RUN,RUN,RUN] 配合 reward.combine=min。",
    ),
    ("algo.reward_model", "reward.combine"),
)
COLLECT = Remedy(
    (
        "Collect preferences on this policy's own answers (python collect.py) and train the reward model again.",
        "用此策略自己的回答收集偏好（python collect.py），重新训练奖励模型。",
    ),
    ("algo.reward_model",),
)
GO_BACK = Remedy(
    (
        "Go back part of the way to the start: python merge.py models=[RUN] merge.init=START merge.towards_init=0.3.",
        "向起点退回一部分：python merge.py models=[RUN] merge.init=START merge.towards_init=0.3。",
    ),
    (),
    lambda algo: algo.exports == "policy" and algo.starts_from is not None,
)
EMA = Remedy(
    ("Export an average of the weights: algo.ema_decay=0.99.", "导出权重的平均：algo.ema_decay=0.99。"),
    ("algo.ema_decay",),
)

SAME_ANSWER = (
    KL_COEF,
    BETA,
    Remedy(
        (
            "Reward what differs among a prompt's samples: reward.diversity_bonus with algo.samples_per_prompt=4.",
            "奖励同一提示的样本之间的差异：reward.diversity_bonus 配合 algo.samples_per_prompt=4。",
        ),
        ("reward.diversity_bonus", "algo.samples_per_prompt"),
    ),
    Remedy(
        ("Sample at a higher rollout.temperature.", "调高采样温度 rollout.temperature。"),
        ("rollout.temperature",),
    ),
    Remedy(("Add algo.entropy_coef.", "加上 algo.entropy_coef。"), ("algo.entropy_coef",)),
    Remedy(
        (
            "Look whether the data hold one answer again and again, and train for fewer epochs (train.epochs).",
            "检查数据是否反复出现同一个回答，并减少训练轮数（train.epochs）。",
        ),
        ("train.epochs",),
        _offline,
    ),
)

REMEDIES: dict[str, tuple[Remedy, ...]] = {
    "over_optimised": (
        Remedy(
            ("Stop there (train.max_steps={step}).", "在该步停止（train.max_steps={step}）。"), ("train.max_steps",)
        ),
        KL_COEF,
        BETA,
        STOP_AT,
        ENSEMBLE,
        COLLECT,
    ),
    "opposed": (
        Remedy(
            (
                "Look at the reward model before anything else: are the labels of its comparisons the right way round, "
                "and does it score bad answers of this policy highly?",
                "先检查奖励模型：比较数据的标签方向是否正确，它是否给此策略的差回答打高分？",
            ),
            ("algo.reward_model",),
        ),
        Remedy(
            ("Are the labels of the comparisons the right way round?", "比较数据的标签方向是否正确？"), (), _offline
        ),
    ),
    "length": (
        Remedy(("Read the longest samples.", "先读最长的样本。")),
        Remedy(
            (
                "Charge for length: reward.length_penalty for each token above reward.length_target.",
                "对长度收费：超过 reward.length_target 的每个词元扣 reward.length_penalty。",
            ),
            ("reward.length_penalty", "reward.length_target"),
        ),
        KL_COEF,
        ENSEMBLE,
        Remedy(
            (
                "Give the reward model pairs whose better answer is the shorter one.",
                "给奖励模型一些较短回答更好的样本对。",
            ),
            ("algo.reward_model",),
        ),
        BETA,
        Remedy(
            (
                "Count the tokens by which one answer is longer less: algo.ld_alpha=0.5.",
                "降低较长回答多出部分的权重：algo.ld_alpha=0.5。",
            ),
            ("algo.ld_alpha",),
        ),
    ),
    "kl": (KL_COEF, STEER, BETA, LR, STOP_AT, ENSEMBLE),
    "entropy": (
        KL_COEF,
        *SAME_ANSWER[2:5],
        LR,
        Remedy(
            (
                "A task with one right answer per prompt may simply be done.",
                "若每个提示只有一个正确答案，也可能是任务已学完。",
            )
        ),
    ),
    "same_answer": SAME_ANSWER,
    "self_bleu": SAME_ANSWER,
    "distinct": SAME_ANSWER,
    "bits": (
        Remedy(("Mix in text with algo.ptx_coef.", "用 algo.ptx_coef 混入文本。"), ("algo.ptx_coef",)),
        KL_COEF,
        BETA,
        Remedy(("Lower algo.lr or train.epochs.", "调低 algo.lr 或 train.epochs。"), ("algo.lr",), _offline),
        GO_BACK,
        EMA,
    ),
    "critic": (
        Remedy(("Raise algo.critic_lr or algo.epochs.", "调高 algo.critic_lr 或 algo.epochs。"), ("algo.critic_lr",)),
        Remedy(
            (
                "With algo.critic=shared raise algo.value_coef or choose separate.",
                "若 algo.critic=shared，调高 algo.value_coef 或改用 separate。",
            ),
            ("algo.critic", "algo.value_coef"),
        ),
        Remedy(
            ("Rewards that differ wildly in scale want algo.score_clip.", "奖励尺度相差悬殊时使用 algo.score_clip。"),
            ("algo.score_clip",),
        ),
    ),
    "chance": (
        Remedy(("Don't train a policy on it.", "不要用它训练策略。")),
        Remedy(
            (
                "Collect more or cleaner comparisons, train longer (train.epochs), try another algo.lr, and read some "
                "labelled pairs.",
                "收集更多或更干净的比较数据，训练更久（train.epochs），换一个 algo.lr，并读几对带标签的样本。",
            )
        ),
        Remedy(
            ("Assume that some labels are wrong: algo.label_smoothing.", "假定部分标签有误：algo.label_smoothing。"),
            ("algo.label_smoothing",),
        ),
    ),
    "chance_steps": (
        Remedy(("Don't train a policy on it.", "不要用它训练策略。")),
        Remedy(
            (
                "Collect more or cleaner labels of steps or hold more prompts out (data.val_fraction), train longer "
                "(train.epochs), try another algo.lr, and read some labelled completions.",
                "收集更多或更干净的步骤标签，或留出更多提示（data.val_fraction），训练更久（train.epochs），"
                "换一个 algo.lr，并读几个带标签的回答。",
            )
        ),
    ),
}
"""By the code of a finding, the likeliest to help first."""
