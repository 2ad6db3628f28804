"""Self-Instruct: what a request shows, what is taken from a reply, and that everything is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf.data.preparation.synthetic import self_instruct
from rlhf.data.preparation.synthetic.instructions import Rules, instructions_in
from rlhf.data.preparation.synthetic.self_instruct import Instruction, SelfInstruct, seeds_of
from rlhf.data.preparation.synthetic.steps import Asked, Reply, follow, sha256
from rlhf.data.records import Demonstration, Prompt
from rlhf.errors import DataError

TEXT = (Path(self_instruct.__file__).parent / "prompts" / self_instruct.FILE).read_text(encoding="utf-8")
SEEDS = [Instruction(f"s:{n}", f"Seed task number {n} about {word}") for n, word in enumerate("abcdefghij", 1)]
RULES = Rules(4, 20, ("image", "go to", "图片"))

REPLY = """Sure! Here are new tasks:

9. Name three rivers of
   Europe, from north to south.
10) **Explain why the sky is blue.**
11. Too short now
12. Describe the IMAGE above in words.
13.Write a program that sorts numbers.
14. "Quoted" words begin this one here.
15. Name three big rivers of Europe, from north to south.
16、把这句话翻译成英文
17. 请描述这张图片里的人

Let me know if you need more, such as 18. this one.
"""


def build(**settings: object) -> SelfInstruct:
    chosen = {"seeds": SEEDS, "text": TEXT, "model": "small", "count": 10, "rules": RULES} | settings
    return SelfInstruct(**chosen)  # type: ignore[arg-type]


def test_a_numbered_list_is_read() -> None:
    found = instructions_in(REPLY)
    assert found[:3] == [
        "Name three rivers of Europe, from north to south.", "Explain why the sky is blue.", "Too short now"
    ]  # fmt: skip
    assert len(found) == 9 and found[-1] == "请描述这张图片里的人"
    assert instructions_in(REPLY, cut=True) == found[:-1], "the end of a text that was cut is half an instruction"
    assert instructions_in("I can't do that.") == instructions_in("") == instructions_in("1.\n2. ") == []
    assert instructions_in("1. Add 2.5 and\n3.5 here") == ["Add 2.5 and 3.5 here"]


@pytest.mark.parametrize(
    ("instruction", "fault"),
    [
        ("Name two rivers now", None),
        ("Name two rivers", "too_short"),
        ("word " * 20, None),
        ("word " * 21, "too_long"),
        ("Draw what is in the image please", "blacklisted"),
        ("Imagine a house on the moon", None),
        ("Go to the shop and buy bread", "blacklisted"),
        ("描述这张图片", "blacklisted"),
        ("把它翻译成英文", None),
        ("write a Program that adds numbers", "write_a_program"),
        ("(a) name two rivers", "punctuation"),
    ],
)
def test_the_paper_s_rules(instruction: str, fault: str | None) -> None:
    assert RULES.fault(instruction) == fault


def test_a_request_shows_six_seeds_and_two_of_its_own() -> None:
    method = build()
    own = [Instruction(f"generated:{n}", f"Own task {n} of mine") for n in range(1, 4)]
    for number in range(20):
        shown = method.shown(number, own)
        names = [one.name for one in shown]
        assert len({*names}) == len(names) == 8 and sum(name.startswith("generated") for name in names) == 2
        assert method.shown(number, own) == shown, "a function of seed and number alone"
    assert all(one.name.startswith("s:") for one in method.shown(0, [])) and len(method.shown(0, [])) == 8
    assert {one.name for n in range(20) for one in method.shown(n, own)} == {one.name for one in [*SEEDS, *own]}
    assert build(seed=2).shown(0, own) != method.shown(0, own)
    said = method.asking(method.shown(0, own))[0]["content"]
    assert "8 tasks" in said and "Write 8 more, numbered from 9 to 16" in said and "\n8. " in said and "$" not in said


def replies(script: list[Reply], asked: list[Asked]) -> object:
    """The script's replies to requests for instructions, and short answers."""

    def reply(now: Asked) -> list[Reply]:
        asked.append(now)
        if now.stage == "responses":
            return [Reply(f"To: {messages[-1]['content']}") for messages in now.messages]
        return [script.pop(0) for _ in now.messages]

    return reply


def test_what_comes_of_replies_is_counted_and_said() -> None:
    asked: list[Asked] = []
    script = [Reply(REPLY), Reply(None, refused=True), Reply(None), Reply("9. Count all the stars\n10. Coun", cut=True)]
    method = build(count=9, requests=4, system="Be brief.")
    made = follow(method.run(), replies(script, asked))  # type: ignore[arg-type]
    assert made is not None and not script
    assert made.counts["instructions"] == {
        "requests": 4, "found": 10, "kept": 4, "too_short": 1, "blacklisted": 2, "write_a_program": 1,
        "punctuation": 1, "similar": 1, "refused_by_server": 1, "no_reply": 1,
    }  # fmt: skip
    assert made.counts["responses"] == {"requests": 4, "records": 4}
    first, *_, last = made.records
    assert isinstance(first, Demonstration) and first.prompt.text == "Name three rivers of Europe, from north to south."
    assert first.response == f"To: {first.prompt.text}" and len(first.prompt.turns) == 1
    mark = json.loads(first.prompt.synthetic)
    assert (mark["method"], mark["model"], mark["id"]) == ("self_instruct", "small", "generated:1")
    assert mark["prompts"] == {"instructions.txt": sha256(TEXT)[:16], "system": sha256("Be brief.")[:16]}
    assert mark["seeds"] == [one.name for one in method.shown(0, [])]
    assert isinstance(last, Demonstration) and last.prompt.text == "Count all the stars"
    # Two requests could bring all nine; the others are asked for what is missing then, and show what was kept.
    assert [len(now.messages) for now in asked] == [2, 3, 1, 1, 1]
    own = [record.prompt.text for record in made.records[:3]]  # type: ignore[union-attr]
    assert sum(f". {text}\n" in f"{asked[2].messages[0][0]['content']}\n" for text in own) == 2
    assert asked[1].messages[0] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": first.prompt.text}
    ]  # fmt: skip


def test_it_ends_with_the_count_or_with_the_requests() -> None:
    made = follow(build(count=2).run(), replies([Reply(REPLY)], []))  # type: ignore[arg-type]
    assert made is not None and made.counts["instructions"]["kept"] == 2 == len(made.records)
    assert made.counts["instructions"]["surplus"] == 1
    none = follow(build(requests=5).run(), replies([Reply("No.")] * 5, []))  # type: ignore[arg-type]
    assert none is not None and none.records == [] and none.counts["instructions"]["requests"] == 5


def test_the_bounds_hold_whatever_the_replies_are() -> None:
    """Requests are no longer than the bounds say, with every quoted reply at its longest."""
    asked: list[Asked] = []
    method = build(count=60, requests=12)
    long = "\n".join(f"{n}. " + " ".join(f"{chr(97 + n)}{w}" for w in range(20)) for n in range(9, 17))
    script = [Reply(long.replace(" ", f" {n}", 30)) for n in range(12)]
    follow(method.run(), replies(script, asked))  # type: ignore[arg-type]
    for bound in method.bounds:
        mine = [messages for now in asked if now.stage == bound.stage for messages in now.messages]
        assert 0 < len(mine) <= len(bound.requests)
        quoted = bound.replies * len(long)
        most = max(len(messages[-1]["content"]) for messages in bound.requests) + quoted
        assert max(len(messages[-1]["content"]) for messages in mine) <= most


def test_seeds_are_single_questions_each_once() -> None:
    talk = Prompt((("user", "a"), ("assistant", "b"), ("user", "c")))
    prompts = [Prompt.of("Ask me\nsomething"), talk, Prompt.of("Ask me something"), Prompt.of("word " * 9)]
    assert [one.text for one in seeds_of(prompts, 8)] == ["Ask me something"]
    with pytest.raises(DataError, match=r"^synthetic\.path: "):
        build(seeds=seeds_of([talk], 8))
