"""Symptoms in words: what is seen, with its figures, and what to turn; in every language of the report."""

from __future__ import annotations

from rlhf.evaluation.findings import Finding
from rlhf.reporting.remedies import Text, remedies

LANGUAGES = ("en", "zh")

TITLES: dict[str, Text] = {
    "reward_hacking": ("Reward hacking", "奖励作弊"),
    "mode_collapse": ("Mode collapse", "模式坍缩"),
    "forgetting": ("Forgetting", "遗忘"),
    "dead_critic": ("Dead critic", "评论家失效"),
    "chance_reward_model": ("Reward model near chance", "奖励模型接近随机"),
}

REASONS: dict[str, Text] = {
    "over_optimised": (
        "Over-optimised after step {step}: up to step {last:.0f} the reward rose from {reward_from:.2f} to "
        "{reward_to:.2f} while the gold score fell from {gold_from:.2f} to {gold_to:.2f} (same prompts, 95% with all "
        "evaluations allowed for: {low:.2f} to {high:.2f}); the KL was {kl:.2f} nats at step {step}.",
        "第 {step} 步之后出现过度优化：到第 {last:.0f} 步，奖励从 {reward_from:.2f} 升到 {reward_to:.2f}，而金标准分从 "
        "{gold_from:.2f} 降到 {gold_to:.2f}（相同提示，已按评估次数校正的 95% 区间：{low:.2f} 至 {high:.2f}）；"
        "第 {step} 步的 KL 为 {kl:.2f} 奈特。",
    ),
    "opposed": (
        "The reward is no guide to the gold score: from step {step} to {last:.0f} it rose from {reward_from:.2f} to "
        "{reward_to:.2f} while the gold score fell from {gold_from:.2f} to {gold_to:.2f} (same prompts, 95% with all "
        "evaluations allowed for: {low:.2f} to {high:.2f}).",
        "奖励与金标准分背道而驰：从第 {step} 步到第 {last:.0f} 步，奖励从 {reward_from:.2f} 升到 {reward_to:.2f}，"
        "而金标准分从 {gold_from:.2f} 降到 {gold_to:.2f}（相同提示，已按评估次数校正的 95% 区间："
        "{low:.2f} 至 {high:.2f}）。",
    ),
    "length": (
        "The score rose from {score_from:.2f} to {score_to:.2f}, and answers grew from {from:.1f} to {to:.1f} tokens, "
        "{ratio:.2f} times as long; past 1.5 times since step {step}.",
        "得分从 {score_from:.2f} 升到 {score_to:.2f}，同时回答从 {from:.1f} 个词元变长到 {to:.1f} 个"
        "（{ratio:.2f} 倍）；"
        "自第 {step} 步起超过 1.5 倍。",
    ),
    "kl": (
        "The score rose from {score_from:.2f} to {score_to:.2f} at a KL of {to:.1f} nats per response; above "
        "{limit:.0f} since step {step}.",
        "得分从 {score_from:.2f} 升到 {score_to:.2f}，代价是每个回答 {to:.1f} 奈特的 KL；"
        "自第 {step} 步起超过 {limit:.0f}。",
    ),
    "entropy": (
        "The policy's entropy fell from {from:.3f} to {to:.4f} nats per token; below a twentieth of the start's since "
        "step {step}.",
        "策略的熵从每词元 {from:.3f} 奈特降到 {to:.4f}；自第 {step} 步起低于初始值的二十分之一。",
    ),
    "same_answer": (
        "{share:.0%} of {n:.0f} answers to different prompts are the very same text.",
        "对不同提示的 {n:.0f} 个回答中，{share:.0%} 完全相同。",
    ),
    "self_bleu": (
        "Answers to different prompts are made of the same pieces: self-BLEU {to:.2f}, at or above {limit:.2f}.",
        "对不同提示的回答由相同的片段组成：self-BLEU 为 {to:.2f}，不低于 {limit:.2f}。",
    ),
    "distinct": (
        "Different word pairs over all (distinct-2) fell from {from:.2f} to {to:.2f} on the same prompts.",
        "在相同提示上，不同词对的比例（distinct-2）从 {from:.2f} 降到 {to:.2f}。",
    ),
    "bits": (
        "Held-out text now costs {to:.3f} bits per byte, {ratio:.0%} more than the {from:.3f} of before.",
        "留出文本现在每字节需要 {to:.3f} 比特，比之前的 {from:.3f} 多 {ratio:.0%}。",
    ),
    "critic": (
        "The critic's explained variance is {to:.2f} on average since step {since:.0f}: at or below 0 it predicts no "
        "better than the mean return.",
        "自第 {since:.0f} 步起，评论家的解释方差平均为 {to:.2f}：小于等于 0 意味着它的预测不比平均回报更好。",
    ),
    "chance": (
        "Held-out accuracy is {accuracy:.1%} (95%: {low:.1%} to {high:.1%}, {n:.0f} prompts): a coin's 50% is not "
        "ruled out.",
        "留出准确率为 {accuracy:.1%}（95%：{low:.1%} 至 {high:.1%}，{n:.0f} 个提示）：不能排除抛硬币的 50%。",
    ),
    "chance_steps": (
        "Held-out accuracy on steps is {accuracy:.1%} (95%: {low:.1%} to {high:.1%}, {n:.0f} prompts): the "
        "{chance:.1%} of always giving the more frequent label is not ruled out.",
        "留出步骤的准确率为 {accuracy:.1%}（95%：{low:.1%} 至 {high:.1%}，{n:.0f} 个提示）："
        "不能排除永远回答较常见标签的 {chance:.1%}。",
    ),
}


def describe(finding: Finding, language: str = "en") -> tuple[str, str, str]:
    """Title, reason with its numbers, and what to turn: what a run of its algorithm has.

    Args:
        language: one of `LANGUAGES`.
    """
    at = LANGUAGES.index(language)
    values = {**finding.numbers, "step": finding.step}
    told = [text[at].format(**values) for text in remedies(finding.code, finding.algo)]
    title, reason = (text[at].format(**values) for text in (TITLES[finding.symptom], REASONS[finding.code]))
    return title, reason, (" " if language == "en" else "").join(told)
