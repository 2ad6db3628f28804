"""What TRL's DPOTrainer makes of random pairs, by loss and option: run by `make_golden.py`, in TRL's environment."""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from golden_trl import Said, trl_tiny
from inputs import Draw, gradients
from torch import Tensor

PAIRS, WIDTH = 6, 5


class Spoken(Said):
    """A model whose log-probabilities, and log Σ_v π(v)² of WPO, are given."""

    def __init__(self, logprobs: Tensor, log_squares: Tensor) -> None:
        super().__init__(logprobs)
        self.log_squares = log_squares

    def forward(self, **_: Any) -> SimpleNamespace:
        said = super().forward()
        said.log_sum_sq_probs = self.log_squares
        return said


def inputs() -> dict[str, Tensor]:
    """Tokens of both responses of each pair, [PAIRS, 2, WIDTH], padded with 0 on the right."""
    draw = Draw(11)
    lengths = torch.stack([draw.lengths(2, 1, WIDTH) for _ in range(PAIRS)])
    mask = torch.arange(WIDTH)[None, None, :] < lengths[..., None]
    found = {name: draw.normal(PAIRS, 2, WIDTH, mean=-2.0) * mask for name in ("policy", "reference")}
    return {"lengths": lengths, "log_squares": draw.normal(PAIRS, 2, WIDTH, mean=-1.0) * mask} | found


def options() -> list[dict[str, Any]]:
    """Options by the names of TRL's configuration."""
    losses = ["sigmoid", "hinge", "ipo", "robust", "nca_pair", "bco_pair", "sppo_hard"]
    losses += ["apo_zero", "apo_down", "discopop", "sigmoid_norm", "aot", "aot_unpaired"]
    found: list[dict[str, Any]] = [{"loss_type": [loss], "beta": beta} for loss in losses for beta in (0.1, 0.6)]
    found += [{"loss_type": ["exo_pair"], "label_smoothing": e} for e in (1e-3, 0.2)]
    found += [{"loss_type": [loss], "label_smoothing": 0.1} for loss in ("robust", "aot", "aot_unpaired")]
    found += [
        {"loss_type": [loss], "f_divergence_type": kind, "label_smoothing": 0.01, "beta": 0.2}
        for kind in ("forward_kl", "js_divergence", "alpha_divergence")
        for loss in ("sigmoid", "ipo", "exo_pair")
    ]
    found += [{"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.8}]
    found += [{"ld_alpha": alpha} for alpha in (0.0, 0.4)] + [{"loss_type": ["ipo"], "ld_alpha": 0.4}]
    found += [{"use_weighting": True}, {"loss_type": ["nca_pair"], "use_weighting": True}]
    found += [{"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]}]
    found += [{"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0], "ld_alpha": 0.5}]
    return found


def trl_losses() -> list[dict[str, Any]]:
    """Losses and gradients with respect to every token's log-probability; pair by pair, since TRL returns means.

    Losses that sort over a batch see all pairs at once, and come back as a mean.
    """
    from transformers import GPT2LMHeadModel
    from trl import DPOConfig, DPOTrainer

    tokenizer, config, data = trl_tiny()
    given = inputs()
    cases = []
    for chosen in options():
        with tempfile.TemporaryDirectory() as folder:
            trainer = DPOTrainer(
                GPT2LMHeadModel(config),
                GPT2LMHeadModel(config),
                args=DPOConfig(folder, **chosen, use_cpu=True, bf16=False, report_to="none"),
                train_dataset=data,
                processing_class=tokenizer,
            )
        sorts = chosen.get("loss_type", [""])[0].startswith("aot")
        losses, found = [], []
        for places in [list(range(PAIRS))] if sorts else [[i] for i in range(PAIRS)]:
            # TRL has no α-divergence in fp64; its rows are all chosen responses, then all rejected ones.
            narrow = torch.float32 if chosen.get("f_divergence_type") == "alpha_divergence" else torch.float64
            flat = {n: t[places].transpose(0, 1).flatten(0, 1) for n, t in given.items()}
            completion = torch.arange(WIDTH)[None, :] < flat["lengths"][:, None]
            mask = torch.cat([torch.zeros(len(completion), 1, dtype=torch.bool), completion], dim=1).long()
            policy = Spoken(flat["policy"].to(narrow), flat["log_squares"].to(narrow))
            trainer.ref_model = Said(flat["reference"].to(narrow))
            batch = {"input_ids": torch.zeros_like(mask), "attention_mask": mask, "completion_mask": mask}
            loss = trainer._compute_loss(policy, batch, return_outputs=False)
            gradient = gradients(loss, policy.logprobs)[0] * completion
            losses.append(loss.reshape(1))
            found.append(gradient.unflatten(0, (2, len(places))).transpose(0, 1))
        cases.append(chosen | {"expected_loss": torch.cat(losses), "expected_gradient": torch.cat(found)})
    return cases


MAKERS = {"inputs": inputs, "losses": trl_losses}
PACKAGES = ("trl", "transformers", "torch")
