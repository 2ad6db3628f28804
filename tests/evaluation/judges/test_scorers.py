"""Judges: the gold one passes verdicts on, the reward model reads as it was trained to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlhf.data.batch import Batch, collate
from rlhf.data.records import Demonstration, Prompt
from rlhf.data.rows import make_rows
from rlhf.data.templates.template import Template, template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.evaluation.judges.scorers import EnsembleJudge, GoldJudge, Mark, RewardJudge
from rlhf.models.files.loading import load_scorer
from rlhf.models.language import ScoreModel, freeze
from rlhf.objectives.ensembles import COMBINATIONS
from rlhf.rewards.sources import Rewards

PROMPTS = [Prompt.of(text) for text in ("What is the capital of France?", "How do I make tea?", "hm")]
ANSWERS = ["Paris.", "Boil the water, then pour it over the leaves.", ""]


@pytest.fixture(scope="module")
def template() -> Template:
    return template_for(load_tokenizer("tiny"))


@pytest.fixture
def make_scorer(template: Template) -> Callable[..., ScoreModel]:
    def make(**options: Any) -> ScoreModel:
        architecture = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 128}
        scorer = load_scorer(None, {**architecture, "initializer_range": 0.5, **options}, template.tokenizer, seed=1)
        freeze(scorer)
        scorer.reward_mean = 0.25
        return scorer

    return make


class Counted(ScoreModel):
    """Remembers how many rows it read, and how many answers."""

    def __init__(self, hf: Any) -> None:
        super().__init__(hf)
        self.rows = self.answers = 0

    def forward(self, batch: Batch, *, at: str = "ends") -> torch.Tensor:
        self.rows += batch.n_rows
        self.answers += batch.n_responses
        return super().forward(batch, at=at)


def alone(scorer: ScoreModel, template: Template, prompt: Prompt, answer: str) -> float:
    """The score as training would compute it, of one row in a batch of its own."""
    rows, _ = make_rows([Demonstration(prompt, answer)], "demonstrations", template, 128)
    with torch.no_grad():
        return float(scorer(collate(rows))[0])


def test_gold_marks_and_knows_what_it_does_not_know() -> None:
    good, bad, strange = GoldJudge()(
        [PROMPTS[0], PROMPTS[0], Prompt.of("Who are you?")], ["The capital of France is Paris.", "Rome.", "Nobody."]
    )
    assert good is not None and bad is not None and good.verdict is not None
    assert good.score > 9 > 2 > bad.score
    assert (good.verdict.kind, good.score) == ("answerable", good.verdict.score)
    assert strange is None


def test_the_reward_model_reads_text_as_in_training(make_scorer: Any, template: Template) -> None:
    scorer = make_scorer()
    prompts = [prompt for prompt in PROMPTS for _ in ANSWERS]
    found = RewardJudge(scorer, template, 128)(prompts, ANSWERS * 3)
    expected = [alone(scorer, template, prompt, answer) for prompt in PROMPTS for answer in ANSWERS]
    assert [mark.score for mark in found if mark] == pytest.approx(expected, abs=1e-4)
    assert len({round(score, 3) for score in expected}) == 9, "the scores tell the answers apart"


def test_an_answer_is_scored_once(make_scorer: Any, template: Template) -> None:
    scorer = Counted(make_scorer().hf)
    judge = RewardJudge(scorer, template, 128)
    first = judge.scores([PROMPTS[0]] * 4, ["Paris.", "Rome.", "Paris.", "Bonn."])
    assert (scorer.rows, scorer.answers) == (1, 3), "one row for the prompt, each answer once"
    assert first[0] == first[2] != first[1]
    again = judge.scores([PROMPTS[1], PROMPTS[0]], ["Paris.", "Rome."])
    assert scorer.answers == 4
    assert again[1] == first[1] and again[0] != first[0], "the prompt counts"


def test_an_answer_too_long_spoils_no_other(make_scorer: Any, template: Template) -> None:
    scorer = make_scorer()
    long = "Paris. " * 60
    judge = RewardJudge(scorer, template, 128)
    assert judge.scores([PROMPTS[0]] * 2, [long * 3, "Paris."])[0] is None
    assert judge.scores([PROMPTS[0]], ["Paris."]) == [pytest.approx(alone(scorer, template, PROMPTS[0], "Paris."))]


def test_a_long_prompt_loses_its_front_for_the_answer_that_needs_it_alone(make_scorer: Any, template: Template) -> None:
    scorer = make_scorer()
    prompt = Prompt.of("tea " * 100 + PROMPTS[1].text)
    size = len(template.prompt(prompt).ids)
    answers = ["Tea.", ANSWERS[1]]
    limit = size + len(template.response(answers[0]))
    assert limit < 128
    short, long = RewardJudge(scorer, template, limit).scores([prompt] * 2, answers)
    assert short == pytest.approx(alone(scorer, template, prompt, answers[0]), abs=1e-4)
    rows, counts = make_rows([Demonstration(prompt, answers[1])], "demonstrations", template, limit)
    assert counts["cut_prompts"] == 1
    assert long == pytest.approx(float(scorer(collate(rows))[0]), abs=1e-4)


def test_many_answers_make_several_rows(make_scorer: Any, template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{number}." for number in range(20)]
    whole = RewardJudge(make_scorer(), template, 128).scores([PROMPTS[0]] * 20, texts)
    monkeypatch.setattr("rlhf.evaluation.judges.scorers.ROW_TOKENS", 16)
    scorer = Counted(make_scorer().hf)
    assert RewardJudge(scorer, template, 128).scores([PROMPTS[0]] * 20, texts) == pytest.approx(whole, abs=1e-4)
    assert scorer.rows > 3 and scorer.answers == 20


def test_models_with_a_window_read_each_answer_alone(
    make_scorer: Any, template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlhf.evaluation.judges.scorers.sliding_window", lambda backbone: 8)
    scorer = Counted(make_scorer().hf)
    RewardJudge(scorer, template, 128).scores([PROMPTS[0]] * 3, ANSWERS)
    assert (scorer.rows, scorer.answers) == (3, 3)


class Said:
    """A member that says what it is told to, and can't read some answers."""

    def __init__(self, *scores: float | None) -> None:
        self.said = list(scores)

    def scores(self, prompts: list[Prompt], answers: list[str]) -> list[float | None]:
        return self.said[: len(answers)]


def test_an_ensemble_by_hand() -> None:
    members: Any = {"a": Said(1.0, -2.0, None), "b": Said(3.0, -1.0, 5.0)}
    assert EnsembleJudge(members)(PROMPTS, ANSWERS) == [Mark(2.0, members=(1, 3)), Mark(-1.5, members=(-2, -1)), None]
    assert EnsembleJudge(members, "min").scores(PROMPTS, ANSWERS) == [1.0, -2.0, None]
    # Deviations 1 and 0.5, variances 1 and 0.25.
    assert EnsembleJudge(members, "deviation", 0.5).scores(PROMPTS, ANSWERS) == [1.5, -1.75, None]
    assert EnsembleJudge(members, "variance", 0.5).scores(PROMPTS, ANSWERS) == [1.5, -1.625, None]


@pytest.mark.parametrize("how", COMBINATIONS)
def test_an_ensemble_says_in_an_evaluation_what_it_says_in_training(how: str) -> None:
    table = torch.tensor([[0.3, -2.0, 5.5], [1.7, -1.0, 2.25], [-0.9, 4.0, 2.5]])
    members: Any = {str(i): Said(*scores) for i, scores in enumerate(table.tolist())}
    rewards = Rewards([lambda batch, scores=scores: scores for scores in table], combine=how, coef=0.7)
    trained = rewards.of_batch(collate([]))["model"]
    judged = EnsembleJudge(members, how, 0.7).scores(PROMPTS, ANSWERS)
    assert judged == pytest.approx(trained.tolist())
