"""Chat templates of strangers: valid ones with pieces exchanged, and heaps of pieces."""

from __future__ import annotations

import tempfile
from functools import cache
from random import Random
from typing import Any

from transformers.utils import chat_template_utils

from benchmarks.fuzz.texts import mixed, mutated
from rlhf.data.records import Prompt
from rlhf.data.templates.marks import Piece
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import Tokenizer, load_tokenizer
from rlhf.errors import DataError

GOOD = [
    "{% for m in messages %}{{ '<' + m.role + '>\n' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>\n' }}{% endif %}",
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}{{ eos_token }}\n{% endfor %}"
    "{%- if add_generation_prompt %}[assistant] {% endif %}",
    "{%- set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% generation %}{{ m.role }}:\n"
    "{{ m.content }}{{ eos_token }}{% endgeneration %}{% endfor %}{% if add_generation_prompt %}assistant:\n"
    "{% endif %}",
]
PARTS = [
    "{% for i in range(99999) %}",
    "{% for i in range(10**9) %}",
    "{% endfor %}",
    "{% if x %}",
    "{% else %}",
    "{% endif %}",
    "{{ m.content }}",
    "{{ messages }}",
    "{{ m.content * 99999 }}",
    "{{ 'a' * 10**9 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "|trim",
    "|upper",
    "|tojson",
    "|join",
    "|center(10**9)",
    "|replace('', 'x' * 9999)",
    "~",
    "+",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{{ ''.__class__ }}",
    "{{ messages.append(1) }}",
    "eos_token",
    "{{ raise_exception('no') }}",
    "{% set messages = [] %}",
    "{% set m = 1 %}",
    "{% break %}",
    "{% include 'x' %}",
    "{{ strftime_now('%d') }}",
    "{{ range(10**12)|list }}",
    "{{ m.content[:-1] }}",
    "{{ m.content[0] }}",
    "loop.index0",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ messages|map(attribute='x')|list }}",
    "\n",
    " ",
]
CONVERSATIONS = [
    Prompt.of("Why?"),
    Prompt((("system", "Be kind."), ("user", "  code\n\tx "))),
    Prompt((("user", "a"), ("assistant", "<think>b</think>c"), ("user", "{{ x }}"))),
    Prompt((("user", "?"), ("user", "</s>\x00"))),
]
ANSWERS = ["Because.", " \n", "", "<assistant>\n", "中文 {{ 7*7 }}"]


@cache
def tokenizer() -> Tokenizer:
    made = load_tokenizer("tiny")
    made.decode(made.encode_pieces([Piece("a", literal=True)]).ids)  # copies share what is built here
    return made


@cache
def independent() -> Any:
    """The same tokenizer as the library `tokenizers` reads it from an export."""
    import tokenizers

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        tokenizer().save(folder)
        return tokenizers.Tokenizer.from_file(f"{folder}/tokenizer.json")


def one(random: Random) -> str:
    """An input; returns what became of it."""
    source = mixed(random, PARTS, 12) if random.random() < 0.3 else mutated(random, random.choice(GOOD), PARTS)
    try:
        template = template_for(tokenizer().with_chat_template(source))
    except DataError as error:
        assert str(error).strip()
        return "refused"
    prompt, answer = random.choice(CONVERSATIONS), random.choice(ANSWERS)
    try:
        ids, response = template.prompt(prompt).ids, template.response(answer)
        shortened = template.prompt(prompt, 64).ids
    except DataError:
        return "conversation refused"
    assert all(isinstance(token, int) for token in (*ids, *response)) and response[-1] == template.end_id
    assert len(shortened) <= 64 and (len(ids) > 64 or shortened == ids)
    template.parse(response)
    if template.opened or "strftime_now" in source:
        return "written, nothing to compare with"
    return _compare(source, prompt, answer, [*ids, *response])


def _compare(source: str, prompt: Prompt, answer: str, ids: list[int]) -> str:
    """Compares with what `apply_chat_template` of the whole conversation gives."""
    messages = [*prompt.messages(), {"role": "assistant", "content": answer}]
    compiled = chat_template_utils._compile_jinja_template(source)
    whole = compiled.render(messages=messages, tools=None, documents=None, **tokenizer().special_tokens)
    expected = independent().encode(whole, add_special_tokens=False).ids
    end = tokenizer().eos_id  # a template that writes no end gets one
    if expected[: len(ids)] == ids or (ids[-1] == end and expected == ids[:-1]):
        return "written as the whole"
    raise AssertionError(f"{source!r} {answer!r} {tokenizer().decode(ids)!r} {whole!r}")
