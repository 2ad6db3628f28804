"""White space is content: what SFT learns of code is what greedy decoding writes, to the last tab and line's end."""

from __future__ import annotations

import json
from pathlib import Path

from rlhf.config import StrategyConfig
from rlhf.rollout.conversation import Conversation
from rlhf.rollout.sampling import Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.runs import Parent
from tests.stages.conftest import Main
from verbs.finished_model import load_model

CODE = {
    "Write it.": "def f(x):\n    if x:\n        return  1\n    return 0\n",
    "Go on.": "    \treturn a\n\t# end \n\n\n",
    "With CRLF?": "\n\nx = [\n  1,\n]",
}


def test_indented_code_is_reproduced(main: Main, tmp_path: Path) -> None:
    records = [json.dumps({"prompt": prompt, "response": response}) for prompt, response in CODE.items()]
    (tmp_path / "code.jsonl").write_text("\n".join(records), encoding="utf-8")
    line = (
        "algo=sft data=jsonl data.path=code.jsonl data.val_fraction=0 data.test_fraction=0 model.init=random seed=1 "
        "model.architecture.n_embd=64 train.batch_size=3 train.max_steps=60 train.val_every=60 train.log_every=20 "
        "train.checkpoint_every=60 train.samples=0 algo.lr=1e-2 hydra.run.dir=run"
    )
    assert main(line) == 0
    loaded = load_model(Parent("run", tmp_path / "run"), StrategyConfig(accelerator="cpu"), 60)
    sampler = TorchSampler(loaded.policy, loaded.template.stop_ids)
    for prompt, response in CODE.items():
        talk = Conversation(sampler, loaded.template, 60, Sampling(60, temperature=0), seed=0)
        reply = talk.reply(prompt, lambda piece: None)
        assert (reply.text, reply.finished) == (response, True)
