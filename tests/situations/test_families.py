"""A person brings a small model of a well-known family with its own chat template: every verb, and turns that end."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from benchmarks.families.chat_templates import FAMILIES, make_tokenizer
from launch.programs import PROGRAMS

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
}
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "Gemma 3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 16}, "<end_of_turn>"),
    "Llama 3": ("LlamaConfig", {}, "<|eot_id|>"),
    "Qwen 3": ("Qwen3Config", {"head_dim": 8}, "<|im_end|>"),
    "Phi 3": ("Phi3Config", {}, "<|end|>"),
    "Mistral v3": ("MistralConfig", {"sliding_window": None}, "</s>"),
}
"""Family: its configuration, what that needs beside the sizes, and the token that ends a turn."""

QUICK = (
    "model=hf data=jsonl data.path=pairs.jsonl data.val_fraction=0.2 data.test_fraction=0.2 data.max_length=96 "
    "logger=csv callbacks.progress=false strategy.threads=1 train.batch_size=8 train.samples=2 train.val_prompts=4 "
    "rollout.max_new_tokens=16"
)


def folder_of(name: str, folder: Path) -> Path:
    """A model folder as people have them: weights, a tokenizer with its template, a generation configuration."""
    kind, extra, _ = MODELS[name]
    make_tokenizer(FAMILIES[name], folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = getattr(transformers, kind)(**SIZES, **special, **extra, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    model.generation_config.eos_token_id = ends
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def verb(program_folder: Path) -> Iterator[Any]:
    threads = torch.get_num_threads()
    yield lambda name, line: PROGRAMS[name].main(line.split())
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_verb(name: str, verb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    model = folder_of(name, tmp_path / "model")
    lines = [
        {"prompt": f"what is {n}?", "chosen": "It is fine.", "rejected": "how are you " * (1 + n % 3)}
        for n in range(60)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    start = f"{QUICK} model.path={model}"

    sft = f"algo=sft {start} model.init=pretrained algo.lr=1e-2 train.max_steps=80 hydra.run.dir=sft"
    assert verb("train", sft) == 0
    reward = f"algo=reward {start} model.init=sft train.max_steps=2 hydra.run.dir=rm"
    assert verb("train", reward) == 0
    assert verb("train", f"algo=dpo {start} model.init=sft train.max_steps=2 hydra.run.dir=dpo") == 0
    ppo = f"algo=ppo {start} model.init=sft algo.reward_model=rm train.max_steps=2 hydra.run.dir=ppo"
    assert verb("train", ppo) == 0

    end = MODELS[name][2]
    for run in ("sft", "dpo", "ppo"):
        export = tmp_path / run / "model"
        tokenizer = transformers.AutoTokenizer.from_pretrained(export)
        ends = json.loads((export / "generation_config.json").read_text())["eos_token_id"]
        ends = ends if isinstance(ends, list) else [ends]
        theirs = json.loads((model / "generation_config.json").read_text())["eos_token_id"]
        assert {tokenizer.convert_tokens_to_ids(end), *(theirs if isinstance(theirs, list) else [theirs])} <= set(ends)
        hf = transformers.AutoModelForCausalLM.from_pretrained(export)
        turns = [{"role": "user", "content": "what is 3?"}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        if run == "sft":  # learnt by heart: a server that reads the export's own list stops where the turn ends
            answer = hf.generate(**ids, max_new_tokens=16, do_sample=False)[0, ids["input_ids"].shape[1] :]
            assert answer[-1] == tokenizer.convert_tokens_to_ids(end), tokenizer.decode(answer)
            assert "It is fine." in tokenizer.decode(answer, skip_special_tokens=True)
    samples = [json.loads(line) for line in Path("sft/samples.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert any(sample["finished"] for sample in samples)

    capsys.readouterr()
    evaluate = "data=jsonl data.path=pairs.jsonl data.val_fraction=0.2 data.test_fraction=0.2 evaluation.prompts=6"
    judged = "evaluation.reward_model=rm rollout.max_new_tokens=16 strategy.threads=1 logger=csv"
    models = "models.sft=sft models.dpo=dpo models.ppo=ppo"
    assert verb("evaluate", f"{evaluate} {judged} {models} hydra.run.dir=ev") == 0
    found = json.loads(Path("ev/evaluation.json").read_text())
    assert set(found["models"]) == {"sft", "dpo", "ppo"} and "ppo>sft" in found["win_rates"]

    monkeypatch.setattr("sys.stdin", io.StringIO("what is 3?\nand 4?\n"))
    capsys.readouterr()
    assert verb("chat", "model.init=sft rollout.temperature=0 rollout.max_new_tokens=16 strategy.threads=1") == 0
    said = capsys.readouterr().out
    assert "It is fine." in said and end not in said
