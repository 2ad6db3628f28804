"""PPO iterations beside the last TRL that has a PPO trainer, in a process of its own with that TRL."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.gpu.local_link import LocalLink, run_here
from benchmarks.gpu.measures.trainers import bench_of, brief, comparison_of, says, task_of
from benchmarks.gpu.parts import Context, Skipped
from benchmarks.measure import WARM_UP, Disagreement, compare_losses
from benchmarks.processes import Worker

MODULE = "benchmarks.workers.trl_ppo"


def beside_trl(context: Context) -> dict[str, Any]:
    """GPT-2 124M: rollout, scoring and four epochs. The first iteration's responses are TRL's on both sides."""
    precision = "fp32" if context.tiny else "bf16"
    bench, _ = bench_of(context, "ppo", "gpt2", precision, 1 if context.tiny else 3)
    site = os.environ.get("RLHF_GPU_TRL_PPO", "")
    first: dict[str, Any] = {}
    peer: LocalLink | None = None
    try:
        peer = peer_of(task_of(bench, "trl", setting={}, micro_batch=min(8, bench.batch)), site)
        first = {"responses": peer.answers[0]["responses"]}
    except Skipped as reason:
        context.note("trl", str(reason))
    from benchmarks.workers.ours import run as ours_run

    ours = run_here(ours_run, task_of(bench, "ours"), first)
    comparison = comparison_of(context, bench, "default", min(8, bench.batch), precision, ours, peer)
    wrong: list[str] = []
    if peer is not None:
        try:
            pairs = zip(ours.answers, peer.answers, strict=True)
            compare_losses(bench, [{"ours": a, "peer": b} for a, b in pairs])
        except Disagreement as error:
            wrong.append(str(error))
    facts = brief(comparison)
    facts["times"] = [answer.get("times", {}) for answer in ours.answers[WARM_UP:]]
    told = says({"default": facts}, wrong) if peer is not None else "ours alone: no TRL with a PPO trainer is there"
    return {"says": told, "wrong": wrong, "precision": precision, "settings": {"default": facts}}


def peer_of(task: dict[str, Any], site: str) -> LocalLink:
    """All iterations of TRL.

    Raises:
        Skipped: there is no such TRL.
    """
    if not os.path.isdir(site):
        raise Skipped("TRL 1.9.2, the last with a PPO trainer, is not there: RLHF_GPU_TRL_PPO names its folder")
    path = {"PYTHONPATH": os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))}
    link = LocalLink(task)
    with Worker(sys.executable, MODULE, task, task["threads"], Path(task["scratch"], "log"), path) as worker:
        link.facts = worker.facts
        link.answers = [worker.go() for _ in range(task["steps"])]
    return link
