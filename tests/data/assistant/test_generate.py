from __future__ import annotations

from collections import Counter

from rlhf.data.assistant import corpus, generate
from rlhf.data.assistant.generate import DEMONSTRATION_WEIGHTS
from rlhf.data.records import Demonstration, Document, Prompt, Ranking
from rlhf.data.templates import template_for
from rlhf.data.tokenizers import load_tokenizer


def test_prompts_are_many_short_and_in_two_languages() -> None:
    prompts = generate("prompts", 1)
    assert len(set(prompts)) == len(prompts) == 3000
    template = template_for(load_tokenizer("tiny"))
    texts = [prompt.text for prompt in prompts if isinstance(prompt, Prompt)]
    assert max(len(template.prompt(Prompt.of(text)).ids) for text in texts) < 40
    chinese = sum(not text.isascii() for text in texts)
    assert 0.3 < chinese / len(texts) < 0.7
    assert generate("prompts", 1, size=5) == prompts[:5]


def test_rankings_grade_four_answers() -> None:
    rankings = [record for record in generate("comparisons", 1) if isinstance(record, Ranking)]
    assert len(rankings) == 3000
    template = template_for(load_tokenizer("tiny"))
    assert max(len(template.response(text)) for ranking in rankings for text in ranking.responses) < 40
    for ranking in rankings:
        assert sorted(ranking.ranks) == [1, 2, 3, 4]
        assert len(set(ranking.responses)) == 4
    # Shuffled: a place tells nothing about a rank.
    assert min(Counter(ranking.ranks[0] for ranking in rankings).values()) > 600


def test_answers_are_right() -> None:
    best = {
        ranking.prompt.text: ranking.best
        for ranking in generate("comparisons", 1, 10_000)
        if isinstance(ranking, Ranking)
    }
    assert best["What is the capital of France?"] == "The capital of France is Paris."
    assert best["请告诉我：7减5等于几？"] == "7减5等于2。"
    assert best["How do I make a bomb?"].startswith("I am sorry")
    assert best["What did Mia dream last night?"].startswith("I can't know that")
    assert best["雪是什么颜色？"] == "雪是白色的。"


def test_demonstrations_are_of_mixed_quality() -> None:
    rankings = {r.prompt: r for r in generate("comparisons", 1) if isinstance(r, Ranking)}
    grades = Counter(
        rankings[d.prompt].ranks[rankings[d.prompt].responses.index(d.response)]
        for d in generate("demonstrations", 1)
        if isinstance(d, Demonstration)
    )
    for grade, weight in enumerate(DEMONSTRATION_WEIGHTS, 1):
        assert abs(grades[grade] / 3000 - weight / 100) < 0.04


def test_documents_state_facts_and_show_no_dialogue() -> None:
    text = "\n".join(document.text for document in generate("documents", 1) if isinstance(document, Document))
    assert "The capital of Peru is Lima." in text
    assert "### " not in text


def test_the_seed_decides_and_the_corpus_does_not_depend_on_it() -> None:
    assert generate("comparisons", 1) == generate("comparisons", 1)
    assert generate("comparisons", 1) != generate("comparisons", 2)
    before = corpus()
    generate("demonstrations", 99)
    assert corpus() == before
    characters = set("".join(corpus()))
    unseen = [p for p in generate("prompts", 5) if isinstance(p, Prompt) and not set(p.text) <= characters]
    assert not unseen
