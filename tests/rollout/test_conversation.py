from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from rlhf.data.cuts import PromptTooLong
from rlhf.data.records import Prompt
from rlhf.data.templates.template import Template, template_for
from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.errors import DataError
from rlhf.rollout.conversation import Conversation
from rlhf.rollout.growing_text import text_of
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.uniforms import EVALUATE

TEXTS = ("Paris.", " 巧克力是棕色的。\n\n第二行 👩‍👩‍👧 ", "näïve — “x”", "a  b\t c \n ", "한글 and русский")


class Scripted:
    """A sampler that says what it is told to, and remembers how it was asked. A `None` is a Ctrl-C."""

    def __init__(self, *answers: list[int | None]) -> None:
        self.answers, self.asked = list(answers), []

    def stream(self, request: Request, sampling: Sampling, **where: int) -> Iterator[int]:
        self.asked.append((request, where))
        for token in self.answers.pop(0):
            if token is None:
                raise KeyboardInterrupt
            yield token


@pytest.fixture(scope="module", params=["tiny", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return load_tokenizer(request.param)


@pytest.fixture(scope="module")
def template() -> Template:
    return template_for(load_tokenizer("tiny"))


def talk(template: Template, *answers: list[int | None], limit: int = 400, **more: Any) -> Conversation:
    return Conversation(Scripted(*answers), template, limit, Sampling(50), seed=7, **more)


def test_pieces_are_whole_characters_and_make_the_text(tokenizer: Tokenizer) -> None:
    split, template = 0, template_for(tokenizer)
    for text in TEXTS:
        ids = [*template.response(text), *tokenizer.encode("never read")]
        pieces = list(text_of(ids, template))
        assert "".join(pieces) == text == template.parse(ids)
        assert all(pieces) and "\ufffd" not in "".join(pieces)
        split += sum("\ufffd" in tokenizer.decode([token]) for token in ids)
    assert split > 10, "the test needs characters that are spread over tokens"


def test_pieces_come_as_early_as_they_can(tokenizer: Tokenizer) -> None:
    """Each character is shown with its last byte."""
    template = template_for(tokenizer)
    for text in TEXTS:
        ids, drawn, shown = template.response(text)[:-1], [], ""

        def tokens(ids: list[int] = ids, drawn: list[int] = drawn) -> Iterator[int]:
            for token in ids:
                drawn.append(token)
                yield token

        for piece in text_of(tokens(), template):
            shown += piece
            assert shown == template.parse(drawn).rstrip("\ufffd")
        assert shown == text


def test_bytes_that_are_no_text(tokenizer: Tokenizer) -> None:
    draw = random.Random(0)
    end = tokenizer.encode("end")
    for _ in range(300):
        ids = [*draw.choices([i for i in range(tokenizer.vocab_size) if i != tokenizer.eos_id], k=12), *end]
        template = template_for(tokenizer)
        assert "".join(text_of(ids, template)) == template.parse(ids)


def test_a_character_that_never_gets_complete_is_left_out(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("ok 龘")
    assert "\ufffd" in tokenizer.decode(ids[:-1])
    assert "".join(text_of(ids[:-1], template_for(tokenizer))) == "ok "


def test_the_whole_conversation_is_the_prompt(template: Template) -> None:
    first, second = template.response("Paris."), template.response("Rome.")
    conversation = talk(template, first, second, first, system="Be brief.")
    reply = conversation.reply("France?", lambda _: None)
    assert (reply.text, reply.finished, reply.interrupted, reply.cut) == ("Paris.", True, False, 0)
    assert reply.row.responses == (tuple(first),)
    conversation.reply("Italy?", lambda _: None)
    said = (("system", "Be brief."), ("user", "France?"), ("assistant", "Paris."), ("user", "Italy?"))
    assert conversation.sampler.asked[1][0].tokens == template.prompt(Prompt(said)).ids
    conversation.reset()
    reply = conversation.reply("Peru?", lambda _: None)
    assert reply.row.prompt == template.prompt(Prompt((("system", "Be brief."), ("user", "Peru?")))).ids


def test_every_turn_draws_anew_and_a_seed_repeats_them(template: Template) -> None:
    answers = [template.response("x")] * 5
    conversation = talk(template, *answers)
    for question in ("a", "a", None, "a", 9, "a", "a"):
        if question is None:
            conversation.reset()
        elif isinstance(question, int):
            conversation.reseed(question)
        else:
            conversation.reply(question, lambda _: None)
    drawn = [(where["seed"], where["iteration"]) for _, where in conversation.sampler.asked]
    assert drawn == [(7, 0), (7, 1), (7, 2), (9, 0), (9, 1)]
    assert {where["stream"] for _, where in conversation.sampler.asked} == {EVALUATE}, "not what PPO learnt from"


def test_a_long_conversation_loses_its_front(template: Template) -> None:
    answer = template.response("It is brown, as far as I know.")
    conversation = talk(template, *[answer] * 6, limit=60)
    replies = [conversation.reply("What colour is chocolate?", lambda _: None) for _ in range(6)]
    assert replies[0].cut == 0 and replies[-1].cut > 0
    assert all(len(reply.row.prompt) <= 60 for reply in replies)
    tail = template.prompt(Prompt.of("What colour is chocolate?")).ids
    assert replies[-1].row.prompt[-len(tail) + 1 :] == tail[1:]


def test_ctrl_c_keeps_what_was_shown(template: Template) -> None:
    words = template.tokenizer.encode(" Paris is far")
    shown: list[str] = []
    conversation = talk(template, [*words, None], template.response("Yes."))
    reply = conversation.reply("France?", shown.append)
    assert (reply.text, reply.finished, reply.interrupted) == ("Paris is far", False, True)
    assert "".join(shown) == "Paris is far"
    conversation.reply("Really?", shown.append)
    assert conversation.turns[1::2] == (("assistant", "Paris is far"), ("assistant", "Yes."))


@pytest.mark.parametrize("nothing", [[None], "eos", "space"])
def test_a_question_without_an_answer_is_forgotten(template: Template, nothing: Any) -> None:
    eos = template.tokenizer.eos_id
    nothing = {"eos": [eos], "space": [*template.tokenizer.encode(" \n"), eos]}.get(str(nothing), nothing)
    conversation = talk(template, nothing, template.response("Yes."))
    assert conversation.reply("France?", lambda _: None).text.strip() == ""
    assert conversation.turns == ()
    conversation.reply("Really?", lambda _: None)
    assert conversation.sampler.asked[1][1]["iteration"] == 1


def test_a_question_that_can_not_fit(template: Template) -> None:
    conversation = talk(template, template.response("Yes."), limit=3)
    with pytest.raises(PromptTooLong):
        conversation.reply("France?", lambda _: None)
    assert conversation.turns == ()


def test_a_template_that_refuses_a_system_message(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    def text(prompt: Prompt) -> str:
        if prompt.turns[0][0] == "system":
            raise DataError("the tokenizer's chat template refuses a conversation of system + user")
        return ""

    monkeypatch.setattr(template, "text", text)
    talk(template)
    with pytest.raises(DataError, match="refuses a conversation of system"):
        talk(template, system="Be brief.")
