from __future__ import annotations

from itertools import chain
from typing import get_args

import pytest

from rlhf.data.cuts import Truncate
from rlhf.data.records import Comparison, Demonstration, Document, Kind, Prompt, Ranking, Record
from rlhf.data.rows import make_rows
from rlhf.data.templates.template import template_for
from rlhf.data.tokenizers.tokenizer import load_tokenizer
from rlhf.errors import DataError

TOKENIZER = load_tokenizer("gpt2")
TEMPLATE = template_for(TOKENIZER)
LONG = Prompt.of("one two three four five six seven eight nine ten eleven twelve")


def test_a_demonstration_is_prompt_and_response() -> None:
    records = [Demonstration(Prompt.of("hi"), "hello"), Demonstration(Prompt.of("hi"), " 你好 ")]
    rows, counts = make_rows(records, "demonstrations", TEMPLATE, 64)
    assert rows[0].prompt == TEMPLATE.prompt(Prompt.of("hi")).ids
    assert rows[0].responses == (tuple(TEMPLATE.response("hello")),)
    assert [row.n_bytes for row in rows] == [5, 8]
    assert [row.index for row in rows] == [0, 1]
    assert rows[0].length == len(rows[0].prompt) + len(rows[0].responses[0])
    assert counts == {"rows": 2, "cut_prompts": 0, "dropped_too_long": 0, "without_pairs": 0}


def test_a_comparison_shares_one_cut_and_keeps_its_responses() -> None:
    records = [Comparison(LONG, "short", "a very much longer answer"), Comparison(Prompt.of("hi"), "a", "b")]
    chosen, rejected = (TEMPLATE.response(text) for text in ("short", "a very much longer answer"))
    limit = len(rejected) + 12
    rows, counts = make_rows(records, "comparisons", TEMPLATE, limit)
    assert rows[0].responses == (tuple(chosen), tuple(rejected))
    assert rows[0].pairs == ((0, 1),)
    assert rows[0].prompt == TEMPLATE.prompt(LONG, 12).ids
    assert len(rows[0].prompt) == 12
    assert (counts["cut_prompts"], counts["dropped_too_long"]) == (1, 0)
    # The sum of both answers may pass the limit; each path may not.
    assert rows[0].length > limit


def test_what_cannot_fit_is_dropped_and_counted() -> None:
    records: list[Record] = [
        Comparison(LONG, "x", "word " * 49 + "word"),
        Ranking(LONG, ("a", "b"), (1, 1)),
        Comparison(LONG, "x", "y"),
    ]
    rows, counts = make_rows(records, "comparisons", TEMPLATE, 40)
    assert [row.index for row in rows] == [2]
    assert counts == {
        "rows": 1,
        "cut_prompts": 0,
        "dropped_too_long": 1,
        "without_pairs": 1,
        "length_99_percent": len(TEMPLATE.prompt(LONG).ids) + 51,
        "median_length_kept": len(TEMPLATE.prompt(LONG).ids) + 2,
        "median_length_dropped": len(TEMPLATE.prompt(LONG).ids) + 51,
    }


def test_policies_of_examples_that_are_too_long() -> None:
    """Of an answer beyond the limit: the example goes, or the answer's end, by what `data.truncate` says."""
    long = Comparison(Prompt.of("hi"), "yes", "word " * 50)
    alike = Comparison(Prompt.of("hi"), "word " * 50 + "yes", "word " * 50 + "no")
    records: list[Record] = [long, alike, Comparison(LONG, "x", "y"), Comparison(Prompt.of("hi"), "x", "y")]
    (prompt, question), limit = (TEMPLATE.prompt(Prompt.of(text)).ids for text in ("hi", LONG.text)), 20
    policies = get_args(Truncate)
    found = {policy: make_rows(records, "comparisons", TEMPLATE, limit, truncate=policy) for policy in policies}
    assert {policy: [row.index for row in rows] for policy, (rows, _) in found.items()} == {
        "prompt": [2, 3],
        "response": [0, 2, 3],
        "drop": [3],
    }
    rows, counts = found["response"]
    kept = tuple(TEMPLATE.response("word " * 50)[: limit - len(prompt)])
    assert rows[0].prompt == prompt and rows[0].responses == (tuple(TEMPLATE.response("yes")), kept)
    assert TOKENIZER.eos_id not in kept, "where an answer was cut there is no end to learn"
    assert rows[0].n_bytes == len("yes") + len(TEMPLATE.parse(kept))
    assert rows[1].prompt == TEMPLATE.prompt(LONG, limit - 2).ids != question
    # Two answers that differ in their ends alone are no comparison once those are gone.
    assert (counts["cut_prompts"], counts["cut_responses"], counts["dropped_too_long"]) == (1, 1, 1)
    assert found["drop"][1]["dropped_too_long"] == 3 and found["drop"][1]["cut_prompts"] == 0
    prompts = {policy: make_rows([LONG], "prompts", TEMPLATE, 12, truncate=policy)[1] for policy in get_args(Truncate)}
    assert {policy: (c["cut_prompts"], c["dropped_too_long"]) for policy, c in prompts.items()} == {
        "prompt": (1, 0),
        "response": (1, 0),
        "drop": (0, 1),
    }


def test_every_record_can_serve_where_it_holds_enough() -> None:
    ranking = Ranking(LONG, ("bad", "good", "bad too"), (2, 1, 2))
    (row,), _ = make_rows([ranking], "comparisons", TEMPLATE, 64)
    assert row.pairs == ((1, 0), (1, 2))
    (row,), _ = make_rows([ranking], "demonstrations", TEMPLATE, 64)
    assert row.responses == (tuple(TEMPLATE.response("good")),)
    (row,), counts = make_rows([ranking], "prompts", TEMPLATE, 10)
    assert (row.prompt, row.responses) == (TEMPLATE.prompt(LONG, 10).ids, ())
    assert counts["cut_prompts"] == 1
    with pytest.raises(TypeError, match="a prompt can't serve as one of the demonstrations"):
        make_rows([LONG], "demonstrations", TEMPLATE, 64)
    with pytest.raises(TypeError, match="document"):
        make_rows([Document("x")], "prompts", TEMPLATE, 64)
    with pytest.raises(TypeError, match="prompt can't serve as one of the documents"):
        make_rows([LONG], "documents", TEMPLATE, 64)


@pytest.mark.parametrize("max_length", [2, 3, 7, 100])
def test_blocks_hold_the_stream_once(max_length: int) -> None:
    records: list[Record] = [
        Document("The first text."),
        Document("第二个文本。"),
        Demonstration(Prompt.of("hi"), "hello"),
    ]
    rows, counts = make_rows(records, "documents", TEMPLATE, max_length)
    eos = TOKENIZER.eos_id
    stream = [*TOKENIZER.encode("The first text."), eos, *TOKENIZER.encode("第二个文本。"), eos,
              *TOKENIZER.encode("### Human: hi\n### Assistant: hello"), eos]  # fmt: skip
    assert list(chain.from_iterable(row.responses[0] for row in rows)) == stream
    assert all(row.prompt == (eos,) for row in rows)
    assert all(row.length <= max_length for row in rows)
    assert all(row.length == max_length for row in rows[:-1])
    assert sum(row.n_bytes for row in rows) == 15 + 18 + 34
    assert counts["rows"] == len(rows)
    assert [row.index for row in rows] == list(range(len(rows)))


@pytest.mark.parametrize("max_length", [2, 3, 7, 100])
def test_every_document_begins_once(max_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer that wants begin-of-text has it in front of each document, whether or not the template wrote it."""
    tokenizer = load_tokenizer("gpt2")
    begin, eos = 50000, tokenizer.eos_id
    monkeypatch.setattr(tokenizer, "prefix_ids", (begin,))
    records: list[Record] = [Document("One."), Demonstration(Prompt.of("hi"), "hello"), Document("Two.")]
    rows, _ = make_rows(records, "documents", template_for(tokenizer), max_length)
    texts = ["One.", "### Human: hi\n### Assistant: hello", "Two."]
    stream = [token for text in texts for token in (begin, *tokenizer.encode(text), eos)]
    assert all(row.prompt == (begin,) for row in rows)
    found = [token for row in rows for token in (*row.prompt, *row.responses[0])]
    assert all(row.responses[0][0] != begin for row in rows)
    # Blocks in the middle of a document start after begin-of-text too; what is learned is the stream.
    assert [t for t in found if t != begin] == [t for t in stream if t != begin]
    if max_length == 100:
        assert found == stream
    assert sum(row.n_bytes for row in rows) == sum(map(len, texts))


def test_blocks_need_room() -> None:
    with pytest.raises(ValueError, match="max_length >= 2"):
        make_rows([Document("x")], "documents", TEMPLATE, 1)


STRICT = """{%- for m in messages -%}
{%- if m.role == 'system' -%}{{ raise_exception('System role not supported') }}{%- endif -%}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('roles must alternate') }}{%- endif -%}
{{ '<' + m.role + '>\\n' + m.content + eos_token }}
{%- endfor -%}{%- if add_generation_prompt -%}{{ '<assistant>\\n' }}{%- endif -%}"""
"""Refuses system turns and turns that don't alternate, as Gemma's and Mistral's do."""


@pytest.mark.parametrize("roles", [("system", "user"), ("user", "user")])
@pytest.mark.parametrize("kind", ["demonstrations", "prompts", "documents"])
def test_a_conversation_that_the_template_refuses(roles: tuple[str, ...], kind: Kind) -> None:
    template = template_for(TOKENIZER.with_chat_template(STRICT))
    bad = Prompt(tuple((role, "hm") for role in roles), place="data.jsonl:7")
    records = [Demonstration(Prompt.of("hi"), "hello"), Demonstration(bad, "yes"), Demonstration(Prompt.of("so"), "no")]
    with pytest.raises(DataError, match=r"^data\.jsonl:7: .*data\.on_error=skip"):
        make_rows(records, kind, template, 64)
    rows, counts = make_rows(records, kind, template, 64, "skip")
    assert counts["refused_by_template"] == 1
    assert rows == make_rows([records[0], records[2]], kind, template, 64)[0] or [r.index for r in rows] == [0, 2]
