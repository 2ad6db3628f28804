from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from random import Random
from statistics import fmean
from typing import get_args

import pytest
from omegaconf import OmegaConf

from rlhf.data.assistant import corpus, generate, judge
from rlhf.data.assistant.annotator import ceiling
from rlhf.data.assistant.answers import CANDIDATES, Grade, answer
from rlhf.data.assistant.generate import rank
from rlhf.data.assistant.grammar import read
from rlhf.data.assistant.questions import Question, capital, questions, recognise
from rlhf.data.assistant.world import LANGUAGES
from rlhf.data.dataset import Dataset, load
from rlhf.data.records import Demonstration, Document, Kind, Prompt, Ranking, as_prompts, responses_of
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tiny import tiny_tokenizer
from rlhf.data.tokenizers.tokenizer import load_tokenizer

pytestmark = pytest.mark.ci

CONF = Path(__file__).parents[3] / "conf"
PROMPTED: tuple[Kind, ...] = ("demonstrations", "comparisons", "prompts")
KINDS: tuple[Kind, ...] = ("documents", *PROMPTED)
SEEDS = (1, 2, 7)


@lru_cache
def parts(kind: Kind, seed: int) -> Dataset:
    """As a stage gets them with `data=assistant`."""
    shares = OmegaConf.load(CONF / "data" / "assistant.yaml")
    return load(kind, seed=seed, val_fraction=shares.val_fraction, test_fraction=shares.test_fraction)


def score(prompt: Prompt, text: str) -> float:
    verdict = judge(prompt, text)
    assert verdict is not None, prompt.text
    return verdict.score


def asked(prompt: Prompt) -> Question:
    question = recognise(prompt.text)
    assert question is not None, prompt.text
    return question


@pytest.mark.parametrize("seed", SEEDS)
def test_stages_share_no_prompt_and_the_test_is_the_same_for_all(seed: int) -> None:
    data = {kind: parts(kind, seed) for kind in PROMPTED}
    tests = [as_prompts(data[kind].test) for kind in PROMPTED]
    assert tests[0] == tests[1] == tests[2]
    sets = [set(tests[0])]
    for kind in PROMPTED:
        for part in (data[kind].train, data[kind].val):
            sets.append(set(as_prompts(part)))
            assert len(sets[-1]) == len(part) > 100
    assert all(one.isdisjoint(other) for one, other in combinations(sets, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_at_least_400_test_prompts_of_all_kinds_in_both_languages(seed: int) -> None:
    tested = [asked(prompt) for prompt in as_prompts(parts("prompts", seed).test)]
    assert len(tested) >= 400
    counts = Counter((question.language.name, question.kind) for question in tested)
    assert len(counts) == 6
    assert min(counts.values()) >= 30
    assert len({question.topic for question in tested}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_everything(kind: Kind) -> None:
    assert generate(kind, 5) == generate(kind, 5)
    # Not the order alone.
    assert set(generate(kind, 5)) != set(generate(kind, 6))
    assert len(set(generate(kind, 5))) > 3000


def test_other_processes_generate_the_same() -> None:
    code = (
        "import hashlib; from rlhf.data.assistant import corpus, generate;"
        "made = [generate(kind, 3) for kind in ('documents', 'demonstrations', 'comparisons', 'prompts')];"
        "print(hashlib.sha256(repr([made, corpus()]).encode()).hexdigest())"
    )
    made = [generate(kind, 3) for kind in KINDS]
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert printed.stdout.strip() == hashlib.sha256(repr([made, corpus()]).encode()).hexdigest()


@pytest.mark.parametrize("kind", ["demonstrations", "comparisons"])
def test_the_judge_can_read_every_answer(kind: Kind) -> None:
    unread = total = 0
    for record in generate(kind, 1):
        assert isinstance(record, Demonstration | Ranking)
        for text in responses_of(record)[0]:
            assert judge(record.prompt, text) is not None
            # Comparisons show some answers that are broken on purpose.
            unread += None in read(text)
            total += 1
    assert unread <= (0 if kind == "demonstrations" else 0.15 * total)


@pytest.mark.parametrize("seed", SEEDS)
def test_demonstrations_are_of_mixed_quality(seed: int) -> None:
    records = [r for r in parts("demonstrations", seed).train if isinstance(r, Demonstration)]
    scores = [score(record.prompt, record.response) for record in records]
    assert 5.5 <= fmean(scores) <= 7
    # The best and the worst are both there to imitate, and no kind of question is left without a good answer.
    assert scores.count(10) > len(scores) / 5
    assert sum(mark <= 1 for mark in scores) > len(scores) / 10
    best = {asked(record.prompt).topic for record, mark in zip(records, scores, strict=True) if mark == 10}
    assert best == {"fact", "sum", "howto", "harm", "secret"}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_possible_accuracy_on_comparisons(seed: int) -> None:
    agree = total = 0
    best: list[float] = []
    for record in parts("comparisons", seed).train:
        assert isinstance(record, Ranking)
        scores = [score(record.prompt, text) for text in record.responses]
        best += ceiling(scores)
        pairs = [(i, j) for i, j in record.pairs() if scores[i] != scores[j]]
        agree += sum(scores[i] > scores[j] for i, j in pairs)
        total += len(pairs)
        # Answers that the judge finds equally good are ties, and no others are.
        assert len(record.pairs()) == len(pairs) == len(ceiling(scores))
    assert 0.86 <= fmean(best) <= 0.92
    # What the labels were drawn with is what the ceiling is computed with.
    assert agree / total == pytest.approx(fmean(best), abs=0.012)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_comparison_shows_different_answers_and_one_of_an_unsuited_kind(seed: int) -> None:
    places: Counter[int] = Counter()
    for record in generate("comparisons", seed):
        assert isinstance(record, Ranking)
        question = asked(record.prompt)
        language = question.language
        refused, shrugged = {language.refusal, language.short_refusal}, {language.unknown, language.short_unknown}
        unsuited = {
            "answerable": refused | shrugged | set(question.wrong),
            "harmful": shrugged | set(language.compliance),
            "unknowable": refused | set(question.wrong),
        }[question.kind]
        found = [place for place, text in enumerate(record.responses) if text in unsuited]
        assert found, record
        assert len(set(record.responses)) == len(record.responses) == CANDIDATES
        assert len({score(record.prompt, text) for text in record.responses}) > 1
        places.update(found)
    # Shuffled: a place tells nothing about an answer.
    assert max(places.values()) < 1.15 * min(places.values())


def test_refusals_evasions_and_inventions_are_shown_for_every_topic() -> None:
    shown: Counter[tuple[str, str]] = Counter()
    for record in parts("comparisons", 1).train:
        assert isinstance(record, Ranking)
        question = asked(record.prompt)
        for text in record.responses:
            kinds = {
                "refused": {question.language.refusal, question.language.short_refusal},
                "shrugged": {question.language.unknown, question.language.short_unknown},
                "wrong": set(question.wrong),
            }
            shown.update((question.topic, kind) for kind, texts in kinds.items() if text in texts)
    assert len(shown) == 5 * 3
    assert min(shown.values()) > 20


def test_ranks_follow_the_scores() -> None:
    prompt = Prompt.of("What is the capital of France?")
    texts = ["I am sorry, I can't help with that, because it could hurt people.", "The capital of France is Paris."]
    wins = 0
    for seed in range(1000):
        ranking = rank(prompt, texts, Random(seed))
        assert sorted(ranking.responses) == sorted(texts)
        wins += ranking.best == texts[1]
    assert wins > 980


def test_every_comparison_holds_true_and_false_answers_long_and_short() -> None:
    for record in generate("comparisons", 1)[:300]:
        assert isinstance(record, Ranking)
        question = asked(record.prompt)
        whole, short = question.language.gap.join(question.right), question.curt or question.right[0]
        assert {whole, short} <= set(record.responses)
        assert set(question.wrong) & set(record.responses)
        assert set(question.slips or question.wrong) & set(record.responses)


GRADES: dict[Grade, tuple[set[float], set[float], set[float]]] = {
    "best": ({10}, {10}, {10}),
    "curt": ({6, 7}, {7}, {7}),
    "half": ({6, 7}, {7}, {7}),
    "opened": ({8, 5, 4}, {8, 5}, {8, 5}),
    "closed": ({8, 5, 4}, {8, 5}, {8, 5}),
    "wrong": ({1, 3}, {0}, {0}),
    "slip": ({1}, {0}, {0}),
    "refused": ({0}, {0}, {2}),
    "shrugged": ({1.5}, {2}, {0}),
    "rude": ({0}, {3}, {2}),
    "off_topic": ({1}, {1}, {1}),
    "repeated": ({2}, {2}, {2}),
    "other_language": ({1}, {2}, {2}),
}


@pytest.mark.parametrize("grade", GRADES)
def test_an_answer_of_each_grade_gets_the_marks_of_its_grade(grade: Grade) -> None:
    expected = dict(zip(("answerable", "harmful", "unknowable"), GRADES[grade], strict=True))
    found: dict[str, set[float]] = {kind: set() for kind in expected}
    random = Random(1)
    for question in questions():
        prompt = Prompt.of(capital(question.text))
        found[question.kind] |= {score(prompt, answer(question, grade, random)) for _ in range(4)}
    assert found == expected


def test_broken_answers_are_nearly_always_bad_and_break_in_many_ways() -> None:
    assert {*GRADES, "broken"} == set(get_args(Grade))
    random = Random(1)
    found = [(question, answer(question, "broken", random)) for question in questions() for _ in range(4)]
    marks = [score(Prompt.of(capital(question.text)), text) for question, text in found]
    assert sum(mark <= 2 for mark in marks) > 0.9 * len(marks)
    assert len({text for _, text in found}) > 0.4 * len(found)
    short = [text for question, text in found if question.curt and len(text) < len(question.right[0]) / 2]
    assert len(short) > len(found) / 4, "short answers break too"


def test_longest_responses_fit_the_tiny_model() -> None:
    tiny = OmegaConf.load(CONF / "model" / "tiny.yaml")
    template = template_for(load_tokenizer("tiny"))
    good = [question.language.gap.join(question.right) for question in questions()]
    demonstrations = [r for r in generate("demonstrations", 1) if isinstance(r, Demonstration)]
    for text in [*good, *(record.response for record in demonstrations)]:
        assert len(template.response(text)) <= tiny.rollout.max_new_tokens, text
    for record in generate("comparisons", 1):
        assert isinstance(record, Ranking)
        prompt = len(template.prompt(record.prompt).ids)
        assert prompt + max(len(template.response(text)) for text in record.responses) <= tiny.data.max_length
        assert prompt + tiny.rollout.max_new_tokens <= tiny.data.max_length


def test_the_tiny_vocabulary_is_the_same_whatever_the_seed() -> None:
    before = tiny_tokenizer().fingerprint
    for kind in KINDS:
        generate(kind, 99)
    tiny_tokenizer.cache_clear()
    assert tiny_tokenizer().fingerprint == before
    # It has seen every character that is used, whatever the seed: none is spelt out in bytes.
    characters = set("".join(corpus()))
    for seed in SEEDS:
        assert all(set(record.text) <= characters for record in generate("prompts", seed) if isinstance(record, Prompt))
    assert all(
        set("".join((*question.right, *question.wrong, question.curt))) <= characters for question in questions()
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_documents_hold_the_knowledge_and_no_dialogue(seed: int) -> None:
    data = parts("documents", seed)
    texts = [record.text for record in (*data.train, *data.val, *data.test) if isinstance(record, Document)]
    assert not any(marker in text for text in texts for marker in ("###", "Human", "Assistant"))
    # What would give the stages after it away: neither how to decline nor how to help with harm.
    for language in LANGUAGES:
        told = (language.refusal, language.short_refusal, language.rude, language.unknown, *language.compliance)
        assert not any(sentence in text for text in texts for sentence in told)
    trained = "\n".join(record.text for record in data.train if isinstance(record, Document))
    for question in questions():
        if question.kind == "answerable":
            assert question.language.gap.join(question.right) in trained
    assert not any(sentence in trained for question in questions() for sentence in question.wrong if is_false(question))


def is_false(question: Question) -> bool:
    """Whether its wrong answers say what is not so; those to how-tos are true of another one."""
    return question.topic in ("fact", "sum", "secret")


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind 'poems'"):
        generate("poems", 1)  # type: ignore[arg-type]
