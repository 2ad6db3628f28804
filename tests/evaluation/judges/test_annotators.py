from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from chat_server import ChatServer, fenced

from rlhf.data.records import Prompt
from rlhf.evaluation.judges.annotators import NoisyJudge, ReadingAnnotator, ScoreAnnotator
from rlhf.evaluation.judges.calls import Cache
from rlhf.evaluation.judges.endpoint import Endpoint
from rlhf.evaluation.judges.rubric import ReadingJudge, position_bias
from rlhf.runs import atomic_write_text

FRANCE = Prompt.of("What is the capital of France?")
RIGHT, CURT, WRONG = "The capital of France is Paris.", "Paris.", "The capital of France is Rome."


def test_a_judge_without_noise_ranks_by_its_scores() -> None:
    ranked = NoisyJudge(1, noise=1e-3).rank([FRANCE], [[WRONG, RIGHT, CURT, RIGHT.lower()[:0] + RIGHT]])
    assert ranked == [(3, 1, 2, 1)]


def test_noise_belongs_to_the_prompt_and_the_seed() -> None:
    others = [Prompt.of(f"{name} asks: what is the capital of France?") for name in ("Mia", "Tom", "Ana", "Ben")]
    answers = [[RIGHT, CURT, WRONG]] * 4
    alone = [NoisyJudge(7, noise=20).rank([prompt], [texts])[0] for prompt, texts in zip(others, answers, strict=True)]
    assert NoisyJudge(7, noise=20).rank(others[::-1], answers) == alone[::-1]
    seeds = {NoisyJudge(seed, noise=20).rank([FRANCE], [[RIGHT, CURT, WRONG]])[0] for seed in range(30)}
    assert len(seeds) == 6, "with much noise, every order"


def test_no_opinion_on_what_is_not_of_the_world() -> None:
    assert NoisyJudge(1).rank([Prompt.of("Write a poem.")], [["Roses.", "Violets."]]) == [None]


def test_scores_rank_and_tie() -> None:
    def length(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
        assert len(prompts) == len(texts)
        return [None if text == "?" else float(len(text)) for text in texts]

    ranked = ScoreAnnotator(length).rank([FRANCE, FRANCE, FRANCE], [["aa", "b", "cc"], ["d"], ["e", "?"]])
    assert ranked == [(1, 2, 1), (1,), None]


@pytest.fixture
def reader(server: ChatServer, tmp_path: Path) -> ReadingAnnotator:
    """Asks one thing at a time, once."""
    cache = Cache(tmp_path / "cache", atomic_write_text)
    return ReadingAnnotator(ReadingJudge(Endpoint(server.url, "judge", cache=cache, concurrency=1, retries=0)))


def beats(*wins: str) -> Callable[[str], str]:
    """A judge by a list of who wins against whom, `ab` for a against b; the other pairs tie."""

    def reply(content: str) -> str:
        a, b = fenced(content)[-2:]
        return '{"better": "%s"}' % ("A" if a + b in wins else "B" if b + a in wins else "tie")

    return reply


@pytest.mark.parametrize(
    ("wins", "texts", "ranks"),
    [
        # By hand: a wins 1 + 1/2 of its two comparisons, c 1/2 + 1/2, b 0 + 1/2.
        (("ab",), "abc", (1, 3, 2)),
        (("ab", "bc", "ac"), "cab", (3, 1, 2)),
        (("ab", "bc", "ca"), "abc", (1, 1, 1)),
        (("ab",), "ba", (2, 1)),
        ((), "ab", (1, 1)),
        (("ab", "ac", "ad", "bc", "bd", "cd"), "abcd", (1, 2, 3, 4)),
        ((), "a", (1,)),
    ],
)
def test_answers_are_ranked_by_whom_they_win_against(
    reader: ReadingAnnotator, server: ChatServer, wins: tuple[str, ...], texts: str, ranks: tuple[int, ...]
) -> None:
    server.reply = beats(*wins)
    asked = reader.asked([FRANCE], [list(texts)])
    assert reader.rank([FRANCE], [list(texts)]) == [ranks]
    assert len(server.requests) == len(asked) == len(texts) * (len(texts) - 1)


def test_a_verdict_that_follows_the_place_is_a_tie(reader: ReadingAnnotator, server: ChatServer) -> None:
    server.reply = lambda content: '{"better": "%s"}' % ("A" if "x" in fenced(content)[-2:] else "tie")
    assert reader.rank([FRANCE, Prompt.of("Why?")], [["x", "y"], ["y", "z"]]) == [(1, 1), (1, 1)]
    bias = position_bias(reader.compared)
    assert bias is not None and (bias["n"], bias["consistent"]) == (2, 0.5)


def test_what_could_not_be_read_is_a_tie_and_a_prompt_without_any_is_left_out(
    reader: ReadingAnnotator, server: ChatServer
) -> None:
    """One of the three pairs of the second prompt, and the only pair of the third."""
    right = beats("ab", "ac")

    def reply(content: str) -> str:
        question, *answers = fenced(content) or "3"  # asked again, it says no more
        return "?" if question == "3" or (question == "2" and set(answers) == {"a", "b"}) else right(content)

    server.reply = reply
    prompts = [Prompt.of(name) for name in "123"]
    ranked = reader.rank(prompts, [["a", "b"], ["a", "b", "c"], ["a", "b"]])
    # By hand: a has 1/2 + 1, b 1/2 + 1/2, c 0 + 1/2.
    assert ranked == [(1, 2), (1, 2, 3), None]
    assert sum(compared is None for compared in reader.compared) == 2
