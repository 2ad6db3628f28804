"""Chat templates of strangers: valid ones with pieces exchanged, and heaps of pieces."""

from __future__ import annotations

from functools import cache
from random import Random

from benchmarks.fuzz.texts import mixed, mutated
from rlhf.data.records import Prompt
from rlhf.data.templates import template_for
from rlhf.data.tokenizers import Tokenizer, load_tokenizer
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
    return load_tokenizer("tiny")


def one(random: Random) -> str:
    """An input; returns what became of it."""
    source = mixed(random, PARTS, 12) if random.random() < 0.3 else mutated(random, random.choice(GOOD), PARTS)
    try:
        template = template_for(tokenizer().with_chat_template(source))
    except DataError as error:
        assert str(error).strip()
        return "refused"
    try:
        ids = template.prompt(random.choice(CONVERSATIONS), random.choice((None, 64))).ids
        response = template.response(random.choice(ANSWERS))
    except DataError:
        return "conversation refused"
    assert all(isinstance(token, int) for token in (*ids, *response)) and response
    template.parse(response)
    return "written"
