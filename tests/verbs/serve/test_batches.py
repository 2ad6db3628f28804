"""Which requests are sampled together, and what happens to those whose answer never comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from rlhf.rollout.sampling import Completion, Request, Sampling
from verbs.serve import batches as module
from verbs.serve.batches import SEEDS, Batches, Ended, Failed, Full, number_of

SAMPLING = Sampling(4)
Watch = Callable[[int, int, int], None]


class Gated:
    """A sampler that waits to be let through once for each batch, and remembers what it was asked."""

    max_rows = 8

    def __init__(self) -> None:
        self.asked: list[list[Request]] = []
        self.begun, self.gate = threading.Semaphore(0), threading.Semaphore(0)
        self.error: Exception | None = None

    def sample(
        self, requests: Sequence[Request], sampling: Sampling, *, watch: Watch, **where: Any
    ) -> list[Completion]:
        self.asked.append(list(requests))
        self.begun.release()
        assert self.gate.acquire(timeout=20)
        if self.error is not None:
            raise self.error
        watch(0, 0, 5)
        n = sampling.samples_per_prompt
        return [
            Completion(i, s, request.tokens[:1], (0.0,), True) for i, request in enumerate(requests) for s in range(n)
        ]

    def wait(self) -> None:
        assert self.begun.acquire(timeout=20)


@pytest.fixture
def sampler() -> Gated:
    return Gated()


@pytest.fixture
def queue(sampler: Gated) -> Iterator[Batches]:
    found = Batches(sampler, seed=1)  # type: ignore[arg-type]
    yield found
    found.end()
    sampler.gate.release()
    found._thread.join(20)
    assert not found._thread.is_alive()


def test_what_waits_together_is_sampled_together(queue: Batches, sampler: Gated) -> None:
    first = queue.submit([1], SAMPLING)
    sampler.wait()
    others = [queue.submit([number, number], SAMPLING) for number in (2, 3, 4)]
    hot = queue.submit([5], Sampling(4, temperature=2.0))
    late = queue.submit([6], SAMPLING)
    sampler.gate.release(3)
    found = [job.answer.result(20)[0].tokens for job in (first, *others, hot, late)]
    assert found == [(1,), (2,), (3,), (4,), (5,), (6,)], "to each its own"
    assert [[r.tokens[0] for r in asked] for asked in sampler.asked] == [[1], [2, 3, 4, 6], [5]]
    assert (queue.answered, queue.read, queue.written) == (6, 1 + 6 + 1 + 1, 6)


def test_a_batch_has_as_many_rows_as_are_decoded_together(queue: Batches, sampler: Gated) -> None:
    queue.submit([1], SAMPLING)
    sampler.wait()
    three = Sampling(4, samples_per_prompt=3)
    jobs = [queue.submit([1], three, seed=number) for number in range(3)]
    sampler.gate.release(3)
    assert [len(job.answer.result(20)) for job in jobs] == [3, 3, 3]
    assert [len(asked) for asked in sampler.asked] == [1, 2, 1]


def test_seeds_and_requests_without_one_never_share_a_number(queue: Batches, sampler: Gated) -> None:
    queue.submit([1], SAMPLING)
    sampler.wait()
    for seed in (None, 0, -1, 2**63 - 1, 0, None):
        job = queue.submit([1], SAMPLING, seed)
    sampler.gate.release(2)
    job.answer.result(20)
    first, zero, minus, large, again, last = (r.number for r in sampler.asked[1])
    assert (first, last) == (SEEDS + 1, SEEDS + 2) and zero == again
    assert len({zero, minus, large, number_of(0, [2])}) == 4 and max(zero, minus, large) < SEEDS


def test_a_failing_batch_takes_nobody_else_with_it(
    queue: Batches, sampler: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    sampler.error = RuntimeError("out of memory\nand much more")
    job = queue.submit([1], SAMPLING)
    sampler.gate.release()
    with pytest.raises(Failed, match=r"out of memory$"):
        job.answer.result(20)
    sampler.error = None
    again = queue.submit([3], SAMPLING)
    sampler.gate.release()
    assert again.answer.result(20)[0].tokens == (3,)
    assert "out of memory" in caplog.text and "Traceback" not in caplog.text


def test_when_the_server_ends_everybody_is_told(queue: Batches, sampler: Gated) -> None:
    running = queue.submit([1], SAMPLING)
    sampler.wait()
    waiting = queue.submit([2], SAMPLING)
    queue.end()
    sampler.gate.release()
    for job in (running, waiting):
        with pytest.raises(Ended):
            job.answer.result(20)
    with pytest.raises(Ended):
        queue.submit([3], SAMPLING)


def test_for_whoever_has_left_nothing_is_sampled(queue: Batches, sampler: Gated) -> None:
    first = queue.submit([1], SAMPLING)
    sampler.wait()
    gone, cancelled, there = (queue.submit([number], SAMPLING) for number in (2, 3, 4))
    gone.left = first.left = True
    cancelled.answer.cancel()
    sampler.gate.release(2)
    assert there.answer.result(20)[0].tokens == (4,)
    assert [r.tokens for r in sampler.asked[1]] == [(4,)]
    assert first.answer.exception(20) is not None, "what nobody waits for stops at the next token"


def test_a_queue_has_an_end(queue: Batches, sampler: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    queue.submit([1], SAMPLING)
    sampler.wait()
    for _ in range(2):
        queue.submit([1], SAMPLING)
    with pytest.raises(Full):
        queue.submit([1], SAMPLING)
