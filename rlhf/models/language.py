"""A causal language model of `transformers`, seen as a function from a batch to log-probabilities (and values)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlhf.models.layout.attention import Trees, read_trees, unread_mask
from rlhf.models.layout.layouts import arranged, layout_of
from rlhf.models.logits import head_of
from rlhf.models.logprobs import Head, TokenStats, chosen_logprobs
from rlhf.models.selection import select_at

if TYPE_CHECKING:
    from rlhf.data.batch import Batch


def backbone_states(backbone: nn.Module, batch: Batch, trees: Trees | None = None) -> Tensor:
    """Last hidden states [B, T, D] of every token of a batch, which is in the model's layout.

    Padded rows need no mask: padding is on the right, and a causal model never looks right. Position ids are passed
    only for rows side by side, since `transformers` takes restarted positions without a mask for packed documents.
    """
    extra: dict[str, Any] = {}
    if batch.side_by_side:
        extra = {"attention_mask": unread_mask(), "position_ids": batch.positions, "trees": trees or Trees.of(batch)}
    states: Tensor = backbone(input_ids=batch.tokens, use_cache=False, **extra).last_hidden_state
    return states


class LanguageModel(nn.Module):
    """Policy, reference or SFT model; with `value_head`, also a critic that shares the trunk.

    Everything goes through `forward`, or a method that rlhf/models/parallel/sharding.py knows, so that a wrapper which
    shards parameters sees one root.
    """

    keeps_gathered = False  # See rlhf/models/parallel/sharding.py
    __call__: Callable[..., TokenStats]

    def __init__(self, hf: Any, *, value_head: bool = False) -> None:
        super().__init__()
        self.hf = read_trees(hf) if layout_of(hf) == "tree" else hf
        self.value_head: nn.Linear | None = None
        if value_head:
            self.add_value_head()

    def add_value_head(self) -> None:
        """One value a position, from the last hidden state; starts at 0, so the first advantages are the returns."""
        self.value_head = nn.Linear(hidden_size(self.hf), 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    @property
    def head(self) -> Head:
        """The map from hidden states to vocabulary logits."""
        return head_of(self.hf)

    def next_logits(self, ids: Tensor, ends: Tensor, **extra: Any) -> Tensor:
        """Logits [B, V] of what follows the tokens ids[b, ends[b]], for decoding.

        Args:
            ids: [B, T] tokens.
            ends: [B] indices in T.
            extra: what the backbone takes beside them: a cache, masks, position ids.
        """
        states = self.hf.base_model(input_ids=ids, use_cache=True, **extra).last_hidden_state
        return self.head(states[torch.arange(len(ids), device=ids.device), ends])

    def generate(self, ids: Tensor, *, max_new_tokens: int, use_cache: bool, **options: Any) -> Tensor:
        """`generate` of `transformers`, greedily and without the settings that a model brings along.

        Args:
            ids: [B, T] tokens, without padding.
            options: such as `logits_processor`.
        """
        from transformers import GenerationConfig

        before = self.hf.generation_config
        # Whatever is not given would be taken from there.
        self.hf.generation_config = GenerationConfig(max_new_tokens=max_new_tokens, use_cache=use_cache, pad_token_id=0)
        try:
            # Parameters are gathered while a rollout lasts, so no process has to wait for the others' steps.
            found: Tensor = self.hf.generate(ids, attention_mask=torch.ones_like(ids), synced_gpus=False, **options)
        finally:
            self.hf.generation_config = before
        return found

    def target_states(self, batch: Batch) -> Tensor:
        """The states [N, D] that predict the batch's N target tokens."""
        return self._states(arranged(self.hf, batch))

    def _states(self, batch: Batch) -> Tensor:
        return select_at(backbone_states(self.hf.base_model, batch), batch.target_rows, batch.target_sources)

    def forward(
        self,
        batch: Batch,
        *,
        temperature: float = 1.0,
        want_entropy: bool = False,
        want_log_squares: bool = False,
        reference: tuple[Tensor, Head] | None = None,
    ) -> TokenStats:
        """Log-probabilities of the batch's N target tokens, and what else is wanted; see `chosen_logprobs`."""
        batch = arranged(self.hf, batch)
        states = self._states(batch)
        stats = chosen_logprobs(
            states,
            batch.target_tokens,
            self.head,
            temperature=temperature,
            want_entropy=want_entropy,
            want_log_squares=want_log_squares,
            reference=reference,
        )
        if self.value_head is not None:
            stats.values = scalars(self.value_head, states)
        return stats


class ScoreModel(nn.Module):
    """A backbone with one scalar a position: reward model (read at the last token, or where steps end) or critic (read
    at every state)."""

    keeps_gathered = False  # See rlhf/models/parallel/sharding.py
    __call__: Callable[..., Tensor]

    def __init__(self, hf: Any) -> None:
        super().__init__()
        self.hf = read_trees(hf) if layout_of(hf) == "tree" else hf

    @property
    def reward_mean(self) -> float:
        """Subtracted from every score, so that demonstrations (else chosen responses) have mean 0."""
        return float(getattr(self.hf.config, "reward_mean", 0.0) or 0.0)

    @reward_mean.setter
    def reward_mean(self, mean: float) -> None:
        self.hf.config.reward_mean = float(mean)

    def forward(self, batch: Batch, *, at: str = "ends") -> Tensor:
        """Scalars in fp32.

        Args:
            at: "ends": one score a response [R], at its last token;
                "sources": one value a target token [N], at the state from which the token was chosen;
                "steps": one a judged step [S], at its last token.

        `reward_mean` is subtracted from both, so that a critic that starts as the reward model expects what it pays.
        """
        batch = arranged(self.hf, batch)
        where = {
            "ends": (batch.end_rows, batch.end_indices),
            "sources": (batch.target_rows, batch.target_sources),
            "steps": (batch.step_rows, batch.step_indices),
        }[at]
        states = select_at(backbone_states(self.hf.base_model, batch), *where)
        return scalars(self.hf.score, states) - self.reward_mean


def scalars(head: nn.Module, states: Tensor) -> Tensor:
    """[N] values or scores of states [N, D], in fp32 whatever the precision of the backbone.

    In bf16 scores around −7 are 0.03 apart, and comparisons tie that don't. Autocast is off here, and a shard's
    gathered head, which is in its compute dtype, is widened.
    """
    with torch.autocast(states.device.type, enabled=False):
        if type(head) is not nn.Linear:  # an adapter's or a splitting layer's own forward pass
            dtype = next((p.dtype for p in head.parameters()), torch.float32)
            return head(states.to(dtype)).squeeze(-1).float()
        bias = None if head.bias is None else head.bias.float()
        return nn.functional.linear(states.float(), head.weight.float(), bias).squeeze(-1)


def sliding_window(backbone: nn.Module) -> int | None:
    """How many tokens sliding-window layers look back; None where there are no such layers."""
    config: Any = backbone.config
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    slides = kinds is None or "sliding_attention" in kinds
    return getattr(config, "sliding_window", None) if slides else None


def hidden_size(hf: Any) -> int:
    """Width of the hidden states, whatever the architecture calls it."""
    return int(hf.config.get_text_config().hidden_size)


def freeze(model: nn.Module) -> nn.Module:
    """Evaluation mode, no gradients: for references and reward models."""
    return model.eval().requires_grad_(False)


def halve(model: LanguageModel | ScoreModel) -> None:
    """Keep the weights of a model that doesn't learn in bf16, in place; scalar heads stay as they are.

    Buffers stay too: angles of positions in bf16 would confuse neighbours.
    """
    head = getattr(model.hf, "score", None)
    kept = {id(p) for p in head.parameters()} if isinstance(head, nn.Module) else set()
    for parameter in model.parameters():
        if id(parameter) not in kept and parameter.is_floating_point():
            parameter.data = parameter.data.to(torch.bfloat16)


def count_parameters(model: nn.Module, *, trained: bool = False) -> int:
    """Shared tensors count once; with `trained`, only those that learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)
