"""Trees as one padded line a response, for models that can't read trees: slower, since prompts are repeated."""

from __future__ import annotations

from dataclasses import replace

import torch

from rlhf.data.batch import PADDING, Batch


def unfolded(batch: Batch) -> Batch:
    """The same responses, pairs and targets in the same order, each response after its own copy of the prompt.

    Padding stands on the right, where a causal model never looks. Rows without responses have nothing that is read and
    are left out; without any response, one line of one token stays, so that a pass over it costs and fails nothing.

    Returns:
        A batch with `side_by_side` false; the batch itself where it is one already.
    """
    if not batch.side_by_side and batch.n_rows > 0:
        return batch
    device = batch.tokens.device
    starts, prompts, lengths, begins, rows = [], [], [], [], []
    first = 0
    for row, (prompt, responses) in enumerate(zip(batch.prompt_lengths, batch.response_lengths, strict=True)):
        begin = first + prompt
        for response in responses:
            starts.append(first)
            prompts.append(prompt)
            begins.append(begin)
            lengths.append(prompt + response)
            rows.append(row)
            begin += response
        first = begin
    if not lengths:
        return _without_responses(batch)
    start, prompt_length, begin_at, length = (
        torch.tensor(column, device=device)[:, None] for column in (starts, prompts, begins, lengths)
    )
    place = torch.arange(max(lengths), device=device)[None, :]
    real, in_prompt = place < length, place < prompt_length
    index = torch.where(in_prompt, start + place, begin_at + place - prompt_length)
    tokens = batch.tokens[0, torch.where(real, index, 0)]
    sources = prompt_length[:, 0][batch.target_response] + batch.target_times - 1
    return replace(
        batch,
        tokens=torch.where(real, tokens, 0),
        positions=torch.where(real, place, 0),
        segments=torch.where(real, torch.where(in_prompt, 0, 1), PADDING),
        target_rows=batch.target_response,
        target_sources=sources,
        target_indices=sources + 1,
        end_rows=torch.arange(len(lengths), device=device),
        end_indices=length[:, 0] - 1,
        step_rows=batch.step_response,
        step_indices=prompt_length[:, 0][batch.step_response] + batch.step_times,
        row_index=batch.row_index[torch.tensor(rows, device=device)],
        n_tokens=sum(lengths),
        lengths=tuple(lengths),
        branching=(False,) * len(lengths),
        prompt_lengths=tuple(prompts),
        response_lengths=tuple((total - prompt,) for total, prompt in zip(lengths, prompts, strict=True)),
        side_by_side=False,
    )


def _without_responses(batch: Batch) -> Batch:
    one = torch.zeros(1, 1, dtype=torch.long, device=batch.tokens.device)
    return replace(
        batch, tokens=one, positions=one, segments=one, lengths=(1,), branching=(False,), prompt_lengths=(1,),
        response_lengths=((),), row_index=batch.row_index.new_zeros(1), n_tokens=1, side_by_side=False,
    )  # fmt: skip
