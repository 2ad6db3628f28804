"""Critique and revision by a constitution, and answers to prompts: requests, records and counts."""

from __future__ import annotations

import json

import pytest

from rlhf.data.preparation.synthetic.critique import CritiqueRevise, principles_in
from rlhf.data.preparation.synthetic.responses import Responses, drawn
from rlhf.data.preparation.synthetic.steps import Asked, Reply, follow
from rlhf.data.records import Comparison, Demonstration, Prompt
from rlhf.errors import DataError

TEXTS = {
    "critique.txt": "C[$principle|$prompt|$answer] $fence",
    "revise.txt": "R[$principle|$prompt|$answer|$critique] $fence",
}
CONSTITUTION = "# Mine\n\n- be kind\n- be brief,\n  always\n<!-- - not this -->\n\nNor this.\n"
TALK = Prompt((("system", "s"), ("user", "u"), ("assistant", "v"), ("user", "w")))


def build(**settings: object) -> CritiqueRevise:
    chosen = {
        "questions": [Prompt.of("p0"), TALK], "answers": ["a0", "a1"], "texts": TEXTS,
        "constitution": ("mine.md", CONSTITUTION), "model": "small",
    } | settings  # fmt: skip
    return CritiqueRevise(**chosen)  # type: ignore[arg-type]


def scripted(asked: list[Asked]) -> object:
    """Replies that number the requests of their stage: c1, c2, … r1, …"""

    def reply(now: Asked) -> list[Reply]:
        before = sum(len(each.messages) for each in asked if each.stage == now.stage)
        asked.append(now)
        return [Reply(f"{now.stage[0]}{before + n}") for n in range(1, 1 + len(now.messages))]

    return reply


def test_principles_are_items_or_lines() -> None:
    assert principles_in(CONSTITUTION) == ["be kind", "be brief, always"]
    assert principles_in("# T\nfirst\n\nsecond  \n") == ["first", "second"]
    assert principles_in("1. one\n2) two\n") == ["one", "two"]
    with pytest.raises(DataError, match=r"^synthetic\.constitution: mine\.md "):
        build(constitution=("mine.md", "# nothing\n"))


def test_two_revisions_by_different_principles() -> None:
    asked: list[Asked] = []
    made = follow(build(revisions=2).run(), scripted(asked))  # type: ignore[arg-type]
    assert made is not None
    assert [(now.stage, len(now.messages)) for now in asked] == [
        ("critiques", 2), ("revisions", 2), ("critiques", 2), ("revisions", 2)
    ]  # fmt: skip
    said = [messages[0]["content"].split("]")[0] for now in asked for messages in now.messages]
    first, other = made.records
    assert isinstance(first, Demonstration) and (first.prompt.text, first.response) == ("p0", "r3")
    mark = json.loads(first.prompt.synthetic)
    assert sorted(mark["principles"]) == [1, 2] and mark["first_answer"] == "file" and mark["model"] == "small"
    by = [["be kind", "be brief, always"][number - 1] for number in mark["principles"]]
    assert said[0] == f"C[{by[0]}|p0|a0" and said[2] == f"R[{by[0]}|p0|a0|c1"
    assert said[4] == f"C[{by[1]}|p0|r1" and said[6] == f"R[{by[1]}|p0|r1|c3"
    assert "|system: s\n\nuser: u\n\nassistant: v\n\nuser: w|a1" in said[1], "the roles of several turns"
    assert isinstance(other, Demonstration) and other.prompt == TALK and other.response == "r4"
    assert made.counts == {
        "critiques": {"requests": 4}, "revisions": {"requests": 4}, "records": {"demonstrations": 2}
    }  # fmt: skip


def test_the_first_answer_is_asked_for_and_compared() -> None:
    asked: list[Asked] = []
    method = build(answers=None, comparisons=True, system="Be blunt.")
    made = follow(method.run(), scripted(asked))  # type: ignore[arg-type]
    assert made is not None and made.records[0] == Comparison(Prompt.of("p0"), "r1", "a1")
    assert asked[0].messages == [
        [{"role": "system", "content": "Be blunt."}, {"role": "user", "content": "p0"}],
        [{"role": role, "content": text} for role, text in TALK.turns],
    ], "a prompt's own system message stays"
    mark = json.loads(made.records[1].prompt.synthetic)  # type: ignore[union-attr]
    assert mark["first_answer"] == "endpoint" and {*mark["prompts"]} == {*TEXTS, "mine.md", "system"}


def test_what_is_missing_is_counted_and_left_out() -> None:
    questions = [Prompt.of(f"p{n}") for n in range(6)]
    method = build(questions=questions, answers=[f"a{n}" for n in range(6)], comparisons=True)
    script = {
        "critiques": [Reply(None), Reply("c", cut=True), *[Reply("c")] * 4],
        "revisions": [
            Reply("half", cut=True), Reply(None, refused=True), Reply(" a3 "),
            Reply("I'm sorry, but I can't help with that."), Reply("r5"),
        ],
    }  # fmt: skip
    made = follow(method.run(), lambda now: script[now.stage])
    assert made is not None
    assert made.counts == {
        "critiques": {"requests": 6, "no_reply": 1},
        "revisions": {"requests": 5, "cut_off": 1, "refused_by_server": 1, "unchanged": 1, "refusals": 1},
        "records": {"equal_to_first_answer": 1, "comparisons": 2},
    }
    assert [record.chosen for record in made.records if isinstance(record, Comparison)][1] == "r5"


def test_bounds_are_what_is_asked_with_replies_left_open() -> None:
    asked: list[Asked] = []
    method = build(answers=None, revisions=2)
    follow(method.run(), scripted(asked))  # type: ignore[arg-type]
    found = [(bound.stage, len(bound.requests), bound.replies) for bound in method.bounds]
    assert found == [
        ("answers", 2, 0), ("critiques", 2, 1), ("revisions", 2, 2), ("critiques", 2, 1), ("revisions", 2, 2)
    ]  # fmt: skip
    assert [(now.stage, len(now.messages)) for now in asked] == [found_[:2] for found_ in found]
    known = [(bound.stage, bound.replies) for bound in build().bounds]
    assert known == [("critiques", 0), ("revisions", 1)]
    assert "|a0]" in build().bounds[0].requests[0][0]["content"] and "be brief" in str(build().bounds[0].requests)


def test_draws_depend_on_seed_and_place_alone() -> None:
    def principles(count: int, seed: int = 1) -> list[list[int]]:
        method = build(questions=[Prompt.of(str(n)) for n in range(count)], answers=["a"] * count, seed=seed)
        made = follow(method.run(), lambda now: [Reply("x")] * len(now.messages))
        assert made is not None
        return [json.loads(record.prompt.synthetic)["principles"] for record in made.records]  # type: ignore[union-attr]

    assert principles(20)[:8] == principles(8) and {*map(tuple, principles(20))} == {(1,), (2,)}
    assert principles(20, seed=2) != principles(20)


def test_answers_to_prompts() -> None:
    asked_before = Prompt((("user", "q"),), place="f:1", synthetic='{"model": "other"}')
    method = Responses([asked_before, Prompt.of("r"), Prompt.of("s")], "small")
    made = follow(method.run(), lambda _: [Reply("yes"), Reply("no", cut=True), Reply("  ")])
    assert made is not None and made.records == [Demonstration(Prompt.of("q"), "yes")]
    assert json.loads(made.records[0].prompt.synthetic) == {  # type: ignore[union-attr]
        "method": "responses", "model": "small", "seeds": ["f:1"], "prompts": {}, "prompt": {"model": "other"}
    }  # fmt: skip
    assert made.counts == {"responses": {"requests": 3, "records": 1, "cut_off": 1, "no_reply": 1}}


def test_fewer_prompts_are_among_more() -> None:
    tools = Prompt((("user", "t"),), tools='[{"function":{"name":"f"},"type":"function"}]')
    prompts = [tools, *[Prompt.of(str(n)) for n in range(30)], Prompt.of("3 ")]
    texts = [[prompt.text for prompt in drawn(prompts, n, 1)] for n in (5, 10, None)]  # type: ignore[union-attr]
    assert len(texts[0]) == 5 and {*texts[0]} < {*texts[1]} < {*texts[2]} == {str(n) for n in range(30)}
    assert texts[1] == sorted(texts[1], key=int), "in their order"
    assert texts[0] != [prompt.text for prompt in drawn(prompts, 5, 2)]  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"^synthetic\.path: "):
        drawn([tools], None, 1)
