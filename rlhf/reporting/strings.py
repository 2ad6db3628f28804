"""Every word of the page, in English and Chinese."""

from __future__ import annotations

from rlhf.reporting.sentences import LANGUAGES, Text

STRINGS: dict[str, Text] = {
    "title_run": ("Run", "运行"),
    "title_sweep": ("Comparison of runs", "运行对比"),
    "title_evaluation": ("Evaluation", "评估"),
    "written": ("written {when}", "生成于 {when}"),
    "theme": ("light / dark", "浅色／深色"),
    "warnings": ("Warnings", "警告"),
    "no_warnings": (
        "No sign of reward hacking, mode collapse, forgetting, a dead critic, or a reward model near chance.",
        "未发现奖励作弊、模式坍缩、遗忘、评论家失效或奖励模型接近随机的迹象。",
    ),
    "at_step": ("step {step}", "第 {step} 步"),
    "try": ("Try:", "可以尝试："),
    "what": ("What was compared, and how", "比较了什么、如何比较"),
    "path": ("folder", "目录"),
    "runs": ("runs", "运行"),
    "run": ("run", "运行"),
    "stage": ("stage", "阶段"),
    "model": ("model", "模型"),
    "data": ("data", "数据"),
    "seeds": ("seeds", "随机种子"),
    "swept": ("varied", "变化的键"),
    "built_on": ("built on", "基于"),
    "versions": ("versions", "版本"),
    "judge": ("judge", "裁判"),
    "reference": ("reference", "参考模型"),
    "prompts": ("prompts", "提示"),
    "judge_gold": ("the embedded task's own, 0 to 10", "内置任务自带的裁判，0 到 10 分"),
    "judge_reward": ("the reward model", "奖励模型"),
    "judge_none": ("none", "无"),
    "sampling": ("sampling", "采样"),
    "temperature": ("one answer per prompt, temperature {t}", "每个提示一个回答，温度 {t}"),
    "failed": ("Not finished", "未完成"),
    "headline": ("Headline", "主要结果"),
    "headline_models": (
        "score: the judge's mean over all prompts; kl: nats per response to {reference} (k1), a bound for best-of-n; "
        "length: tokens; distinct 2: different word pairs over all; bits per byte: held-out text, lower is better.",
        "score：裁判对所有提示的平均分；kl：每个回答相对 {reference} 的奈特数（k1），best-of-n 为上界；length：词元数；"
        "distinct 2：不同词对的比例；bits per byte：留出文本，越低越好。",
    ),
    "headline_runs": (
        "Last values. ± is a 95% t interval over seeds, where a line has more than one.",
        "最后的数值。± 为跨随机种子的 95% t 区间（多于一个种子时）。",
    ),
    "win_rates": ("Win rates", "胜率"),
    "win_note": (
        "Prompt by prompt, a tie counting one half; 95% intervals over prompts. The sign test leaves ties out.",
        "逐提示比较，平局计一半；95% 区间，跨提示。符号检验不计平局。",
    ),
    "pair": ("pair", "对比"),
    "sign_test": ("sign test p", "符号检验 p"),
    "agreement_text": (
        "Members of the ensemble agree on {pairwise} of pairs, two by two; all of them on {unanimous}.",
        "集成成员两两一致的样本对占 {pairwise}，全部一致的占 {unanimous}。",
    ),
    "win_rate": ("win rate", "胜率"),
    "won": ("won", "胜"),
    "tied": ("tied", "平"),
    "lost": ("lost", "负"),
    "frontier": ("Reward against KL", "奖励与 KL 的权衡"),
    "frontier_note": (
        "Circles: during training, joined in the order of the steps. Diamonds: finished models on the evaluation's "
        "prompts. Dotted: best of n samples of the reference, drawn at log n − (n − 1)/n, which is a bound on its KL, "
        "not a measurement (Stiennon et al. 2020; Beirami et al. 2024). Bars: 95%, over {over}.",
        "圆点：训练过程，按步数顺序相连。菱形：已完成的模型在评估提示上的结果。点线：参考模型 n 个样本中的最佳者，画在 "
        "log n − (n − 1)/n 处，这是其 KL 的上界而非测量值（Stiennon 等 2020；Beirami 等 2024）。"
        "误差条：95%，跨{over}。",
    ),
    "over_seeds": ("seeds", "随机种子"),
    "over_prompts": ("prompts", "提示"),
    "over_both": ("seeds where there are several, else prompts", "随机种子（若有多个），否则跨提示"),
    "outside": ("Too far out to be drawn: {what}.", "太远而未画出：{what}。"),
    "kl_axis": ("KL to the reference (nats per response, √ scale)", "与参考模型的 KL（奈特／回答，平方根刻度）"),
    "reward_axis": ("reward model's score", "奖励模型得分"),
    "gold_axis": ("judge's score", "裁判得分"),
    "reward_kl": ("Reward against KL", "奖励与 KL"),
    "gold_kl": ("Judge's score against KL", "裁判得分与 KL"),
    "gold_gain": ("Gold score above the start", "真实得分相对起点的变化"),
    "proxy_gain": ("Proxy score above the start, in standard deviations", "代理得分相对起点的变化（标准差）"),
    "gold_gain_axis": ("judge's score − start", "裁判得分 − 起点"),
    "proxy_gain_axis": ("reward model's score − start, standard deviations", "奖励模型得分 − 起点（标准差）"),
    "gold_proxy": ("Gold and proxy score against √KL", "真实得分与代理得分随 √KL 的变化"),
    "gold_proxy_note": (
        "A proxy is a reward model that is optimised; gold is the judge. Circles: a run during training. Diamonds: "
        "best of n samples of the reference by the proxy, at log n − (n − 1)/n. Lines: in the gold chart "
        "d·(α − β·log d) for runs and, dotted, d·(α − β·d) for best of n, d = √KL, fitted by least squares "
        "(Gao et al. 2022). Proxy scores are in standard deviations at the start.",
        "代理是被优化的奖励模型；真实得分来自裁判。圆点：训练过程。菱形：按代理从参考模型的 n 个样本中取最佳，KL 取 "
        "log n − (n − 1)/n。曲线：在真实得分图中，训练为 d·(α − β·log d)，best-of-n（点线）为 d·(α − β·d)，d = √KL，"
        "最小二乘拟合（Gao et al. 2022）。代理得分以起点的标准差为单位。",
    ),
    "over_title": ("Over-optimisation", "过度优化"),
    "over_note": (
        "The reward that is trained on continues to rise while the judge's score falls. The red line is the step after "
        "which it sets in.",
        "训练所用的奖励继续上升，而裁判得分下降。红线标出开始的步数。",
    ),
    "over_reward": ("{name}: reward", "{name}：奖励"),
    "over_gold": ("{name}: judge's score", "{name}：裁判得分"),
    "sets_in": ("sets in", "开始"),
    "parallel": ("Settings and results", "设置与结果"),
    "parallel_note": ("Each line is a run; the last axes are results.", "每条线是一次运行；最后几条轴是结果。"),
    "curves": ("Learning curves", "学习曲线"),
    "curves_of": ("Learning curves: {algo}", "学习曲线：{algo}"),
    "curves_note": (
        "Bands: 95% t intervals over seeds. Held-out metrics begin with val/.",
        "阴影：跨随机种子的 95% t 区间。留出集指标以 val/ 开头。",
    ),
    "more_curves": ("All other metrics", "其他全部指标"),
    "step": ("step", "步数"),
    "spot_check": ("Spot check by people", "人工抽查"),
    "spot_check_text": (
        "{run}: of two samples of the same prompt, the one with the higher score deserved it in {share} of {n} votes "
        "(95%: {low} to {high}; ties one half) by {people} people.",
        "{run}：同一提示的两个样本中，得分较高者在 {n} 票中的 {share} 名副其实（95%：{low} 至 {high}；平局计一半），"
        "共 {people} 人投票。",
    ),
    "spot_check_note": (
        "Near 50% the score says nothing that people agree with; it should rise with the difference of the scores.",
        "接近 50% 说明得分与人的判断无关；这一比例应随两个得分之差增大而上升。",
    ),
    "score_gap": ("difference of the scores", "得分之差"),
    "deserved": ("deserved", "名副其实的比例"),
    "votes": ("votes", "票数"),
    "calibration": ("Calibration of the reward model", "奖励模型的校准"),
    "calibration_note": (
        "Predicted probability that the preferred answer is better, σ(difference of scores), against how often it is. "
        "On the diagonal it means what it says.",
        "预测的偏好概率 σ(得分差) 与实际比例。落在对角线上表示预测可信。",
    ),
    "predicted": ("predicted", "预测"),
    "observed": ("observed", "实际"),
    "accuracy": ("Accuracy on labels", "标签准确率"),
    "accuracy_text": (
        "{accuracy} (95%: {low} to {high}, {n} prompts){ceiling}",
        "{accuracy}（95%：{low} 至 {high}，{n} 个提示）{ceiling}",
    ),
    "ceiling": ("; the best possible on these noisy labels is {ceiling}", "；在这些有噪声的标签上最高可达 {ceiling}"),
    "distributions": ("Distributions", "分布"),
    "dist_tokens": ("Length of answers", "回答长度"),
    "dist_score": ("Judge's score", "裁判得分"),
    "dist_gold": ("Judge's score", "裁判得分"),
    "dist_reward": ("Reward model's score", "奖励模型得分"),
    "dist_kl": ("KL of single answers", "单个回答的 KL"),
    "tokens": ("tokens", "词元"),
    "share": ("share of answers", "回答占比"),
    "samples": ("Samples", "样本"),
    "samples_note": (
        "{n} held-out prompts, with what each answered. Scores: {scores}.",
        "{n} 个留出提示及各自的回答。分数：{scores}。",
    ),
    "samples_cut": ("Only the first {n} of {all} prompts are in this file.", "本文件只含 {all} 个提示中的前 {n} 个。"),
    "category": ("category", "类别"),
    "any": ("all", "全部"),
    "search": ("search text", "搜索文本"),
    "who_won": ("outcome", "胜负"),
    "compare": ("compare", "比较"),
    "with": ("with", "与"),
    "by": ("by", "依据"),
    "first_wins": ("first wins", "前者胜"),
    "second_wins": ("second wins", "后者胜"),
    "ties": ("tie", "平局"),
    "matching": ("matching prompts", "个匹配的提示"),
    "previous": ("previous", "上一页"),
    "next": ("next", "下一页"),
    "nothing": ("(nothing)", "（空）"),
    "cut_off": ("cut off", "被截断"),
    "needs_script": ("The browser of samples needs JavaScript.", "浏览样本需要 JavaScript。"),
    "configuration": ("Configurations", "配置"),
    "differences": ("Keys that differ", "不同的键"),
    "no_differences": ("No key differs but the seed.", "除随机种子外没有不同的键。"),
    "overrides": ("typed", "命令行"),
    "whole": ("The whole configuration", "完整配置"),
    "files": ("Tables and plots as files", "表格与图的文件"),
    "status": ("status", "状态"),
    "error": ("error", "错误"),
    "steps": ("steps", "步数"),
    "seed": ("seed", "种子"),
    "start": ("start", "起点"),
    "setting": ("setting", "设置"),
    "slice": ("slice", "子集"),
    "first": ("first", "开始"),
    "last": ("last", "最后"),
    "lowest": ("lowest", "最低"),
    "highest": ("highest", "最高"),
    "round": ("round", "轮次"),
    "rounds": ("Rounds", "多轮训练"),
    "rounds_gold": ("judge's score", "裁判评分"),
    "rounds_proxy": ("gain by the round's own reward model (sd)", "本轮奖励模型给出的提升（标准差）"),
    "rounds_kl": ("KL to where the rounds began (nats per response)", "与起点的 KL（奈特／回答）"),
    "rounds_agreement": ("reward model and annotator agree", "奖励模型与标注者的一致率"),
    "rounds_policy": ("policy of each round", "各轮的策略"),
    "rounds_fresh": ("fresh answers, before retraining", "新回答，重新训练之前"),
    "rounds_held_out": ("held-out comparisons, after it", "留出的比较，重新训练之后"),
    "rounds_best": ("best possible on fresh labels", "新标签上可达到的上限"),
    "rounds_note": (
        "Round 0 is the model that the rounds began with. The gain is that of the round's reward model over round 0, "
        "in standard deviations of its scores there. Agreement with fresh labels is that of the reward model of the "
        "round before, on answers of the policy that was trained against it: where it falls short of the best possible "
        "by more than on held-out comparisons, the policy has left what the reward model knows. Bars: 95%, over "
        "prompts.",
        "第 0 轮是各轮训练的起点模型。提升指本轮奖励模型相对第 0 轮回答的得分差，以其在该处得分的标准差为单位。"
        "新标签一致率属于上一轮的奖励模型，在针对它训练出的策略的回答上测得：若它离上限的差距大于留出比较上的差距，"
        "说明策略已离开奖励模型所了解的范围。误差条：95%，跨提示。",
    ),
    "length_bias": ("Length bias", "长度偏好"),
    "length_bias_text": (
        "It scores the longer answer higher in {prefers} of {n} pairs; labels prefer the longer one in {labels}.",
        "在 {n} 对中有 {prefers} 给较长回答更高的分；标签有 {labels} 偏好较长回答。",
    ),
}


def text(key: str, **values: object) -> Text:
    """Both languages of one string, its places filled in; of a value that is a pair each language gets its own."""
    return (_in(key, 0, values), _in(key, 1, values))


def _in(key: str, at: int, values: dict[str, object]) -> str:
    chosen = {name: value[at] if isinstance(value, tuple) else value for name, value in values.items()}
    return STRINGS[key][at].format(**chosen)


__all__ = ["LANGUAGES", "STRINGS", "text"]
