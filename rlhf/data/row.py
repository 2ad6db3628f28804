"""One example in tokens: what records become, and batches are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rlhf.data.records import Prompt


@dataclass(frozen=True)
class Row:
    """One example in tokens.

    Attributes:
        prompt: ids that are read and never trained on.
        responses: ids of each response, end-of-text included; each continues the prompt on its own.
        pairs: (better, worse) indices into `responses`.
        margins: by how much the better one is better, one for each pair; empty where the data don't say.
        n_bytes: UTF-8 bytes of the responses' text, for bits per byte.
        index: position in the data set the row was made from (documents: number of the block).
        labels: of each response, whether it is desirable; empty if unknown.
        step_ends: of each response, places of the tokens at which its judged steps end; empty where nobody judged any.
        step_labels: of each of those steps, the probability that it is right.
        context: ranges of the only response that are read and not trained on: what stands between the assistant's
            turns of a conversation.
        source: the prompt as it was read, of rows of prompts: what scores answers by their texts needs it.
    """

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    n_bytes: int = 0
    index: int = 0
    context: tuple[tuple[int, int], ...] = ()
    margins: tuple[float, ...] = ()
    source: Prompt | None = field(default=None, compare=False, repr=False)
    labels: tuple[bool, ...] = ()
    step_ends: tuple[tuple[int, ...], ...] = ()
    step_labels: tuple[tuple[float, ...], ...] = ()

    @property
    def length(self) -> int:
        """Tokens in the row: the prompt once and all responses."""
        return len(self.prompt) + sum(map(len, self.responses))

    def trained(self, response: Sequence[int]) -> Sequence[int]:
        """Places in a response whose tokens are trained on."""
        if not self.context:
            return range(len(response))
        read = {place for start, stop in self.context for place in range(start, stop)}
        return [place for place in range(len(response)) if place not in read]

    @property
    def n_targets(self) -> int:
        """Tokens that are trained on."""
        return sum(len(self.trained(response)) for response in self.responses)
