from __future__ import annotations

from collections.abc import Sequence

from rlhf.data.records import Prompt
from rlhf.evaluation.judges.annotators import NoisyJudge, ScoreAnnotator

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
