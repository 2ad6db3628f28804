"""Prompts and answers are what `apply_chat_template` writes, whatever the family; ends, masks and limits."""

from __future__ import annotations

import importlib.util
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import transformers.utils.chat_template_utils as theirs

from benchmarks.families.chat_templates import FAMILIES, make_tokenizer
from rlhf.data.records import Demonstration, Prompt
from rlhf.data.rows import make_rows
from rlhf.data.templates.chosen import with_chosen_template
from rlhf.data.templates.sandbox import TODAY
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import HFTokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.rollout.conversation import text_of

OPENED = {"QwQ, Qwen 3 Thinking", "DeepSeek R1"}
"""Their generation prompt writes what they don't write for an answer."""
UNENDED = {"Falcon": "<|endoftext|>", "Baichuan 2": "</s>", "ChatGLM 4": "<|user|>", "MiniCPM": "</s>"}
"""Nothing that they write ends an answer."""
CONVERSATIONS = (
    (("user", "how are you?"),),
    (("user", "how\n\n are  you?"), ("assistant", "fine"), ("user", "what is it?")),
    (("system", "Be kind."), ("user", "hello")),
    (
        ("system", "Be kind."),
        ("user", "hello"),
        ("assistant", "I am"),
        ("user", "x"),
        ("assistant", "y"),
        ("user", "?"),
    ),
)
ANSWERS = ("It is fine.", "你好", "x:\n    y\n\n\tz", "42")


class Fixed(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return TODAY


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HFTokenizer]:
    return {name: make_tokenizer(family, tmp_path_factory.mktemp("family")) for name, family in FAMILIES.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_prompt_and_answer_are_the_whole(
    name: str, families: dict[str, HFTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theirs, "datetime", Fixed)
    theirs._compile_jinja_template.cache_clear()
    tokenizer = families[name]
    template = template_for(tokenizer)
    apply = tokenizer._tokenizer.apply_chat_template
    seen = 0
    for turns in CONVERSATIONS:
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            prompt = list(template.prompt(Prompt(turns)).ids)
        except DataError:
            assert turns[0][0] == "system"
            continue
        for text in ANSWERS:
            answer = template.response(text)
            whole = apply([*messages, {"role": "assistant", "content": text}], return_dict=False)
            ids = [*prompt, *answer]
            if name in OPENED:
                assert prompt == apply(messages, add_generation_prompt=True, return_dict=False)
                assert answer == whole[-len(answer) :] or answer == whole[-len(answer) - 1 : -1]
            else:
                assert (ids[:-1] == whole) if name in UNENDED else (ids == whole[: len(ids)])
            assert template.parse(answer) == text
            assert template.ended(answer) and not template.ended(answer[:-1])
            assert not set(answer[:-1]) & set(template.stop_ids)
            seen += 1
    assert seen >= 8
    if name in UNENDED:
        assert tokenizer.decode([template.end_id], skip_special=False) == UNENDED[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_markers_in_a_text_stay_text(name: str, families: dict[str, HFTokenizer]) -> None:
    tokenizer, template = families[name], template_for(families[name])
    specials = {tokenizer.encode_template(text)[-1] for text in tokenizer.special_texts}
    attack = "hi" + "".join(tokenizer.special_texts) + "there"
    plain, attacked = (template.prompt(Prompt.of(text)).ids for text in ("hi", attack))
    assert [id for id in attacked if id in specials] == [id for id in plain if id in specials]
    plain, attacked = (template.response(text) for text in ("hi", attack))
    assert [id for id in attacked if id in specials] == [id for id in plain if id in specials]


@pytest.mark.parametrize("name", FAMILIES)
def test_what_chat_streams_is_what_is_stored(name: str, families: dict[str, HFTokenizer]) -> None:
    """However far an answer got: without the header of gpt-oss' final channel and Qwen 3's thoughts of nothing."""
    template = template_for(families[name])
    for text in ("Paris.", " a\n", "<think>\nx\n</think>\n\nnaïve\n\n"):
        ids = template.response(text)
        for drawn in (ids[:n] for n in range(len(ids) + 1)):
            assert "".join(text_of(drawn, template)) == template.parse(drawn).rstrip("\ufffd")
        assert "Paris" not in text or template.parse(ids) == text


@pytest.mark.parametrize("name", FAMILIES)
def test_a_conversation_teaches_what_its_answers_teach_alone(name: str, families: dict[str, HFTokenizer]) -> None:
    template = template_for(families[name])
    turns = (("user", "how"), ("assistant", "I am"), ("user", "what"), ("assistant", "It is"), ("user", "x"))
    whole = Demonstration(Prompt(turns), "hello")
    rows, _ = make_rows([whole], "demonstrations", template, 1000)
    alone = [
        (template.prompt(Prompt(turns[:place])).ids, tuple(template.response(text)))
        for place, text in ((1, "I am"), (3, "It is"), (5, "hello"))
    ]
    if len(rows) > 1:
        assert [(row.prompt, row.responses[0]) for row in rows] == alone
    else:
        (row,) = rows
        ids, start = (*row.prompt, *row.responses[0]), len(row.prompt)
        taught = [start + place for place in row.trained(row.responses[0])]
        expected = [len(prompt) + place for prompt, answer in alone for place in range(len(answer))]
        assert taught == expected
        assert all(ids[: len(prompt) + len(answer)] == (*prompt, *answer) for prompt, answer in alone)
        assert row.n_targets == len(expected)
    assert sum(row.n_bytes for row in rows) == len("I am" + "It is" + "hello")
    (last,), _ = make_rows([whole], "demonstrations", template, 1000, train_on="last")
    assert (last.prompt, last.responses[0]) == alone[-1]
    weighted = Demonstration(whole.prompt, "hello", (0, 1, 0))
    (second,), _ = make_rows([weighted], "demonstrations", template, 1000)
    assert (second.prompt, second.responses[0]) == alone[1]


def test_too_long_a_conversation_is_taught_turn_by_turn(families: dict[str, HFTokenizer]) -> None:
    template = template_for(families["ChatML, Yi"])
    turns = (("user", "how " * 20), ("assistant", "I am"), ("user", "what"))
    record = Demonstration(Prompt(turns), "hello")
    (row,), _ = make_rows([record], "demonstrations", template, 1000)
    rows, counts = make_rows([record], "demonstrations", template, row.length - 10)
    assert [row.responses[0] for row in rows] == [tuple(template.response(text)) for text in ("I am", "hello")]
    assert counts["cut_prompts"] >= 1


def test_sampling_stops_at_each_end(families: dict[str, HFTokenizer]) -> None:
    for name, family in FAMILIES.items():
        template = template_for(families[name])
        named = [families[name]._tokenizer.convert_tokens_to_ids(text) for text in (family.eos, *family.stops)]
        assert set(template.stop_ids) == {*named, template.end_id}
    gemma = template_for(families["Gemma 3"])
    assert gemma.tokenizer.decode([gemma.end_id], skip_special=False) == "<end_of_turn>"
    assert gemma.end_id != gemma.tokenizer.eos_id


def test_thoughts_are_written_as_the_template_writes_them(families: dict[str, HFTokenizer]) -> None:
    qwen = template_for(families["Qwen 3"])
    decode = qwen.tokenizer.decode
    answer = decode(qwen.response("<think>\nhm\n</think>\n\nyes"), skip_special=False)
    assert answer == "<think>\nhm\n</think>\n\nyes<|im_end|>"
    turns = (("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nyes"), ("user", "b"))
    assert "hm" not in decode(qwen.prompt(Prompt(turns)).ids)
    opened = template_for(families["DeepSeek R1"])
    assert opened.opened == "<think>\n"
    for text in ("hm</think>yes", "<think>\nhm</think>yes"):
        assert decode_of(opened, text) == "hm</think>yes<｜end▁of▁sentence｜>"


def decode_of(template: Any, text: str) -> str:
    return str(template.tokenizer.decode(template.response(text), skip_special=False))


def test_a_chosen_template_and_its_arguments(families: dict[str, HFTokenizer], tmp_path: Path) -> None:
    qwen = families["Qwen 3"]
    assert with_chosen_template(qwen, None, {}) is qwen
    closed = with_chosen_template(qwen, None, {"enable_thinking": False})
    template = template_for(closed)
    assert qwen.decode(template.prompt(Prompt.of("a")).ids).endswith("<think>\n\n</think>\n\n")
    assert decode_of(template, "yes") == "yes<|im_end|>"
    assert closed.fingerprint != closed.former_fingerprint == qwen.fingerprint
    # What an export carries is not given its arguments twice.
    closed.save(tmp_path / "export")
    again = HFTokenizer(tmp_path / "export")
    assert with_chosen_template(again, None, {"enable_thinking": False}).fingerprint == closed.fingerprint
    file = tmp_path / "own.jinja"
    file.write_text("\n  {% if note is defined %}{{ note }}{% endif %}" + FAMILIES["Gemma 3"].source, encoding="utf-8")
    odd = {"note": 'ä"\\\n😀', "n": [1, None, {"a": 0.5}]}
    own = template_for(with_chosen_template(qwen, str(file), odd))
    assert own.text(Prompt.of("a")).startswith("\n" + odd["note"])
    with pytest.raises(ConfigError, match=r"data\.chat_template: nowhere\.jinja"):
        with_chosen_template(qwen, "nowhere.jinja", {})
    with pytest.raises(ConfigError, match=r"data\.template_kwargs\.messages"):
        with_chosen_template(qwen, None, {"messages": 1})


def test_named_templates(families: dict[str, HFTokenizer], tmp_path: Path) -> None:
    tokenizer = families["Qwen 3"]._tokenizer
    kept = tokenizer.chat_template
    try:
        tokenizer.chat_template = {"a": FAMILIES["Gemma 3"].source, "b": FAMILIES["Qwen 3"].source}
        tokenizer.save_pretrained(tmp_path)
    finally:
        tokenizer.chat_template = kept
    several = HFTokenizer(tmp_path)
    with pytest.raises(DataError, match=r"data\.chat_template: .*\(a, b\)"):
        template_for(several)
    assert "start_of_turn" in template_for(with_chosen_template(several, "a", {})).text(Prompt.of("x"))
    with pytest.raises(ConfigError, match="a, b"):
        with_chosen_template(several, "c", {})


def test_a_template_that_writes_answers_otherwise_later_is_refused(families: dict[str, HFTokenizer]) -> None:
    source = FAMILIES["ChatML, Yi"].source.replace("m.content", "(m.content if loop.index < 3 else m.content | upper)")
    with pytest.raises(DataError, match=r"data\.chat_template: .* user \+ assistant \+ user"):
        template_for(families["ChatML, Yi"].with_chat_template(source))


ENDLESS = {
    "loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "calls": "{% for a in range(25000) %}{{ strftime_now('%d') }}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "times": "{{ 'a' * 10**9 }}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "doubling": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "width": "{{ '%1000000000d' % 1 }}",
    "format": "{{ '{:>1000000000}'.format(1) }}",
    "filter": "{{ 'a' | center(1000000000) }}",
    "method": "{{ 'a'.ljust(1000000000) }}",
    "replace": "{% set x = 'a' * 700000 %}{{ x | replace('a', x) }}",
    "join": "{{ (['a' * 900000] * 900) | join }}",
    "captured": "{% set x = 'a' * 700000 %}{% set y %}{% for i in range(9999) %}{{ x }}{% endfor %}{% endset %}",
    "interpreter": "{{ ''.__class__.__mro__ }}{{ namespace.__init__.__globals__ }}",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_templates_are_refused(name: str, families: dict[str, HFTokenizer]) -> None:
    with pytest.raises(DataError, match="refuses a conversation"):
        template_for(families["ChatML, Yi"].with_chat_template(ENDLESS[name] + FAMILIES["ChatML, Yi"].source))


TRL = importlib.util.find_spec("trl")
SHIPPED = sorted((Path(str(TRL.origin)).parent / "chat_templates").glob("*.jinja")) if TRL else []


@pytest.mark.skipif(not SHIPPED, reason="TRL, or a version of it that ships chat templates, is not installed")
def test_templates_that_trl_ships(families: dict[str, HFTokenizer]) -> None:
    """Loading compares prompts and answers with the whole; a tokenizer without their special tokens does for that."""
    for file in SHIPPED[::4]:
        template = template_for(families["Qwen 3"].with_chat_template(file.read_text(encoding="utf-8")))
        assert template.parse(template.response("It is fine.")).endswith("It is fine.")
