from __future__ import annotations

import torch

from rlhf.data.batch import collate
from rlhf.rollout.episodes import Episodes
from rlhf.rollout.sampling import Completion

PROMPTS = [(1, 2), (3,), (4, 5, 6)]
COMPLETIONS = [
    Completion(0, 0, (10, 11, 2), (-1.0, -1.0, -1.0), True),
    Completion(0, 1, (12,), (-1.0,), False),
    Completion(1, 0, (13, 14), (-1.0, -1.0), True),
    Completion(1, 1, (15, 16, 17, 18), (-1.0,) * 4, False),
    Completion(2, 0, (19,), (-1.0,), True),
    Completion(2, 1, (20, 2), (-1.0, -1.0), True),
]


def episodes() -> Episodes:
    return Episodes.of(PROMPTS, COMPLETIONS, torch.device("cpu"))


def test_rows_hold_each_prompt_once() -> None:
    found = episodes()
    assert [row.prompt for row in found.rows] == PROMPTS
    assert [row.responses for row in found.rows] == [
        ((10, 11, 2), (12,)),
        ((13, 14), (15, 16, 17, 18)),
        ((19,), (20, 2)),
    ]
    assert found.first == [0, 2, 4]
    assert len(found) == 6
    assert found.mask.sum(-1).tolist() == [3, 1, 2, 4, 1, 2]
    assert found.finished.tolist() == [True, False, True, False, True, True]


def test_numbers_of_tokens_find_their_way_back_from_any_batch() -> None:
    found = episodes()
    for order in ([0, 1, 2], [2, 0], [1]):
        batch = collate([found.rows[i] for i in order])
        found.store("logprobs", batch, batch.target_tokens.float())
        assert found.flat("logprobs", batch).tolist() == batch.target_tokens.tolist()
    assert found.logprobs[3].tolist() == [15, 16, 17, 18]
    assert found.logprobs[1].tolist() == [12, 0, 0, 0]
    assert found.logprobs[~found.mask].abs().sum() == 0
    assert found.numbers(collate([found.rows[2], found.rows[0]])).tolist() == [4, 5, 0, 1]
