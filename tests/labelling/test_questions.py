"""What is asked, in which order, on which sides: functions of the data, the seed and the annotator."""

from __future__ import annotations

from collections import Counter

from rlhf.data.records import Comparison, Labelled, Prompt, Ranking
from rlhf.labelling.questions import Answers, answers_of, checks_of, make_question, ordered, questions_of, sides

PROMPT = Prompt.of("q")


def test_a_question_is_the_same_whatever_the_file_says_of_its_answers() -> None:
    one = make_question("pairs", PROMPT, ("a", "b"), ("sft", "ppo"))
    other = make_question("pairs", PROMPT, ("b", "a"), ("ppo", "sft"))
    assert one == other
    assert dict(zip(one.responses, one.sources, strict=True)) == {"a": "sft", "b": "ppo"}
    assert make_question("best", PROMPT, ("a", "b")).id != one.id
    assert make_question("pairs", Prompt.of("r"), ("a", "b")).id != one.id


def test_the_better_answer_is_not_always_the_first() -> None:
    found = [make_question("pairs", Prompt.of(f"q{i}"), ("chosen", "rejected")).responses[0] for i in range(400)]
    # Within five standard deviations, √(400/4) = 10, of one half.
    assert 150 < Counter(found)["chosen"] < 250


def test_sides_are_drawn_for_each_annotator_and_are_always_the_same() -> None:
    question = make_question("pairs", PROMPT, ("a", "b"))
    drawn = [sides(1, question, f"annotator {i}") for i in range(400)]
    assert 150 < Counter(drawn)[0, 1] < 250
    assert drawn == [sides(1, question, f"annotator {i}") for i in range(400)]
    assert drawn != [sides(2, question, f"annotator {i}") for i in range(400)]


def test_order_is_a_function_of_the_seed_and_of_the_questions_alone() -> None:
    questions = [make_question("pairs", Prompt.of(f"q{i}"), ("a", "b")) for i in range(20)]
    assert ordered(questions, 1) == ordered(questions[::-1], 1) != ordered(questions, 2)
    assert ordered(questions, 1) != questions


def test_answers_of_every_record() -> None:
    assert answers_of(Comparison(PROMPT, "a", "b")) == Answers(PROMPT, ("a", "b"))
    assert answers_of(Ranking(PROMPT, ("a", "b", "a"), (1, 2, 1))) == Answers(PROMPT, ("a", "b"))
    assert answers_of(Labelled(PROMPT, "a", True)) == Answers(PROMPT, ("a",))
    assert answers_of(PROMPT) is None


def test_auto_compares_two_and_ranks_more() -> None:
    two, four = Answers(PROMPT, ("a", "b")), Answers(PROMPT, ("a", "b", "c", "d"))
    assert [q.task for q in questions_of([two, four], "auto", 1)] == ["pairs", "ranking"]
    pairs = questions_of([four], "pairs", 1)
    assert sorted(text for q in pairs for text in q.responses) == ["a", "b", "c", "d"] and len(pairs) == 2
    assert [q.responses for q in questions_of([two, two], "thumbs", 1)] == [("a",), ("b",)]
    assert questions_of([Answers(PROMPT, ("a",))], "pairs", 1) == []
    many = Answers(PROMPT, tuple(map(str, range(30))))
    assert [len(q.responses) for q in questions_of([many], "ranking", 1)] == [9]


def test_a_check_takes_the_last_sample_beside_an_earlier_one_of_another_score() -> None:
    def sample(step: int, text: str, score: float, prompt: str = "q") -> dict:
        return {"step": step, "prompt": [["user", prompt]], "response": text, "score": score}

    (found,) = checks_of([sample(0, "early", 1.0), sample(10, "late", 2.0), sample(5, "late", 2.0)], 1)
    known = {text: (s, f) for text, s, f in zip(found.responses, found.scores, found.sources, strict=True)}
    assert known == {"early": (1.0, "step 0"), "late": (2.0, "step 10")}
    assert checks_of([sample(0, "a", 1.0), sample(1, "a", 2.0), sample(0, "b", 1.0, "r")], 1) == []
