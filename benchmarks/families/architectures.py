"""Tries tiny models of every family in `configurations.py` beside it and writes the table of `docs/models.md`.

    python -m benchmarks.families.architectures --out docs/models.md [--only llama,jamba]

Each check compares with plain passes of `transformers`: one response at a time, eager attention, no cache. FSDP is
`fully_shard` over a group of one process, which goes through the same hooks as several.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from benchmarks.families.configurations import FAMILIES, ROWS, Tokens, architecture
from benchmarks.families.plain import plain, plain_logprobs
from rlhf.data.batch import collate
from rlhf.data.rows import Row
from rlhf.errors import UserError, first_line
from rlhf.models.adapters import Lora, add_lora
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.models.layout.layouts import layout_of
from rlhf.models.parallel.offload import recompute_activations
from rlhf.models.parallel.sharding import data_mesh, shard
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler

BEGIN, END = "<!-- architectures: begin -->", "<!-- architectures: end -->"
HEADER = ("model_type", "layout", "log-probs", "gradients", "sampling", "reward", "LoRA", "checkpointing", "FSDP")
TOLERANCE = 1e-3
"""Of a log-probability (nats), of a score, and of a gradient relative to the largest of its tensor."""

DECODERS = {"slots": "yes", "own": "own cache", "none": "no cache"}

TOKENS: Any = Tokens()


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    """Of each parameter that has one, by name in the model of `transformers`."""
    loss.backward()
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            grad = parameter.grad
            found[name.removeprefix("hf.")] = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
    return found


def check(found: Tensor, truth: Tensor) -> str:
    """`yes`, or how far apart they are."""
    far = float((found - truth).detach().abs().max())
    return "yes" if far <= TOLERANCE else f"no: {far:.1g}"


def check_gradients(found: dict[str, Tensor], truth: dict[str, Tensor]) -> str:
    for name, grad in truth.items():
        largest = max(float(grad.abs().max()), 1e-3)
        if name not in found or float((found[name] - grad).abs().max()) > 10 * TOLERANCE * largest:
            return f"no: {name}"
    return "yes"


def logprobs_and_gradients(model: Any) -> tuple[str, str]:
    theirs_model = plain(model.hf)
    theirs = plain_logprobs(theirs_model, ROWS)
    ours = model(collate(ROWS)).logprobs
    first = check(ours, theirs)
    return first, check_gradients(gradients(model, ours.sum()), gradients(theirs_model, theirs.sum()))


def sampling(model: Any) -> str:
    requests = [Request(0, (5, 6, 7, 8, 9, 10, 11)), Request(1, (20, 21, 22)), Request(2, (30, 31, 32))]
    found = TorchSampler(model, 1, 4).sample(requests, Sampling(12, samples_per_prompt=2), seed=0, iteration=0)
    hf = plain(model.hf)
    for completion in found:
        prompt = requests[completion.request].tokens
        with torch.no_grad():
            truth = plain_logprobs(hf, [Row(prompt, (completion.tokens,))])
        if (result := check(torch.tensor(completion.logprobs), truth)) != "yes":
            return result
    return DECODERS[model.hf._rlhf_decoder]


def reward(family: str) -> str:
    """Scores at the last tokens, by the export's own class as well."""
    scorer = load_scorer(None, architecture(family), TOKENS, seed=0)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        scores = scorer(collate(ROWS))
        scorer.hf.save_pretrained(folder)
        theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
        texts = [row.prompt + response for row in ROWS for response in row.responses]
        truth = torch.stack([theirs.eval()(input_ids=torch.tensor([text])).logits[0, 0] for text in texts])
    return check(scores, truth)


def lora(model: Any) -> str:
    add_lora(model.hf, Lora(r=4), seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    with torch.no_grad():
        truth = plain_logprobs(plain(model.hf), ROWS)
    found = model(collate(ROWS)).logprobs
    result = check(found, truth)
    missing = [n for n, p in gradients_of_adapters(model, found.sum()) if p is None]
    return result if not missing else f"no gradient: {missing[0]}"


def gradients_of_adapters(model: Any, loss: Tensor) -> list[tuple[str, Any]]:
    loss.backward()
    return [(name, p.grad) for name, p in model.named_parameters() if "lora_" in name]


def checkpointing(model: Any) -> str:
    truth = gradients(model, model(collate(ROWS)).logprobs.sum())
    truth = {name: grad.clone() for name, grad in truth.items()}
    model.zero_grad(set_to_none=True)
    recompute_activations(model.hf)
    return check_gradients(gradients(model, model(collate(ROWS)).logprobs.sum()), truth)


def fsdp(model: Any) -> str:
    truth = gradients(model, model(collate(ROWS)).logprobs.sum())
    truth = {name: grad.clone() for name, grad in truth.items()}
    model.zero_grad(set_to_none=True)
    shard(model, data_mesh("cpu", 1))
    return check_gradients(gradients(model, model(collate(ROWS)).logprobs.sum()), truth)


def attempt(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except UserError as error:
        text = first_line(error)
        headless = "no scalar head" in text or "no sequence classifier" in text
        return "no head in transformers" if headless else f"no: {text.split('; ')[0]}"
    except Exception as error:
        return f"no: {type(error).__name__}: {first_line(error)[:80]}"


def row_of(family: str) -> list[str]:
    """A line of the table."""

    def fresh() -> Any:
        return load_policy(None, architecture(family), TOKENS, seed=0)

    model = attempt(fresh)
    if isinstance(model, str):
        return [family, f"refused: {model}", *["–"] * (len(HEADER) - 2)]
    pair = attempt(lambda: logprobs_and_gradients(model))
    first, second = pair if isinstance(pair, tuple) else (pair, "–")
    return [
        family,
        layout_of(model.hf),
        first,
        second,
        attempt(lambda: sampling(fresh())),
        attempt(lambda: reward(family)),
        attempt(lambda: lora(fresh())),
        attempt(lambda: checkpointing(fresh())),
        attempt(lambda: fsdp(fresh())),
    ]


def table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [list(HEADER), ["---"] * len(HEADER), *rows]]
    versions = f"transformers {transformers.__version__}, PyTorch {torch.__version__.split('+')[0]}"
    return "\n".join([BEGIN, f"{len(rows)} families, {versions}:", "", *lines, END])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the page whose marked part is replaced")
    parser.add_argument("--only", help="families, with commas between them; all by default")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        rows = []
        for family in asked.only.split(",") if asked.only else FAMILIES:
            rows.append(row_of(family))
            print(" | ".join(rows[-1]), flush=True)
        torch.distributed.destroy_process_group()
    text = asked.out.read_text(encoding="utf-8") if asked.out.exists() else f"{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    asked.out.write_text(before + table(rows) + after, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
