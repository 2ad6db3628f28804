"""Two nodes, as two groups of processes that find each other on loopback addresses, train what one node trains."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rlhf.runs import Summary
from verbs.train.trainer import cluster_environment

ROOT = Path(__file__).parents[2]
LINE = (
    "algo=sft model.init=random train.max_steps=3 train.batch_size=8 data.limit=200 logger=csv callbacks=minimal "
    "strategy=ddp strategy.accelerator=cpu strategy.threads=1 resume=true"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(node: int, port: int, tmp_path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    command += [f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}"]
    command += [f"--local-addr=127.0.0.{node + 1}", str(ROOT / "train.py"), *LINE.split()]
    command += ["strategy.nodes=2", "strategy.devices=1", "hydra.run.dir=two"]
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("variables", "devices", "found"),
    [
        ({}, 2, []),
        ({"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, 2, ["SLURMEnvironment"]),
        ({"SLURM_NTASKS": "1"}, 1, ["SLURMEnvironment"]),
        # A job of one task, such as a point of submitit_slurm, starts its other processes itself.
        ({"SLURM_NTASKS": "1"}, 2, ["LightningEnvironment"]),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "bash"}, 2, []),
        ({"SLURM_NTASKS": "2", "TORCHELASTIC_RUN_ID": "7"}, 2, []),
    ],
)
def test_who_starts_processes_under_slurm(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], devices: int, found: list[str]
) -> None:
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID", "RANK", "GROUP_RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    if "TORCHELASTIC_RUN_ID" in variables:
        variables = {**variables, "RANK": "0", "GROUP_RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environments = cluster_environment(devices)
    assert [type(environment).__name__ for environment in environments] == found
    assert not any(getattr(environment, "auto_requeue", False) for environment in environments)


@pytest.mark.slow
def test_two_nodes_train_what_one_trains(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train.py"), *LINE.split(), "strategy.devices=2", "hydra.run.dir=one"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    # Twice: the second time there is nothing to do, and no process waits for another.
    for _ in range(2):
        port = free_port()
        nodes = [torchrun(node, port, tmp_path) for node in (0, 1)]
        try:
            told = [node.communicate(timeout=300)[0] for node in nodes]
        finally:
            for node in nodes:
                node.kill()
        assert [node.returncode for node in nodes] == [0, 0], "\n".join(told)
    assert "two is finished; nothing to do" in told[0]
    one, two = (Summary.read(tmp_path / name) for name in ("one", "two"))
    assert one.id == two.id and one.steps == two.steps == 3
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    for name, weights in first.items():
        torch.testing.assert_close(second[name], weights, atol=2e-6, rtol=0)
    assert (tmp_path / "two" / "rank_1.log").exists() and len(list(tmp_path.glob("*"))) == 2
