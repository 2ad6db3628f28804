"""Real samples of many formats, kept beside the repository: each is read right, or refused with a sentence."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.formats.meaning import UNDESIRABLE
from rlhf.data.readers import read
from rlhf.data.records import Comparison, Demonstration, Kind, Labelled, Prompt, Ranking, place_of
from rlhf.errors import DataError

DATA = Path(__file__).parents[3].parent / "shared" / "data"


def sample(name: str) -> Path:
    file = DATA / f"{name}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{name} is not beside the repository")
    return file


def raw(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


COUNTS: list[tuple[str, Kind, dict[str, int]]] = [
    ("alpaca_libre/alpaca_libre", "demonstrations", {"read": 1000, "kept": 1000}),
    ("cvalues/responsibility_prompts", "prompts", {"read": 664, "kept": 664}),
    ("fastchat_sharegpt/dummy_conversation", "demonstrations", {"read": 500, "kept": 500}),
    ("gsm8k/test", "demonstrations", {"read": 1319, "kept": 1319}),
    ("llama_factory/dpo_en_demo", "comparisons", {"read": 300, "kept": 300}),
    ("llama_factory/dpo_zh_demo", "comparisons", {"read": 299, "kept": 299}),
    ("llama_factory/glaive_toolcall_en_demo", "demonstrations", {"read": 291, "kept": 291}),
    ("llama_factory/glaive_toolcall_zh_demo", "demonstrations", {"read": 297, "kept": 297}),
    ("llama_factory/identity", "demonstrations", {"read": 91, "kept": 91}),
    ("llama_factory/kto_en_demo", "demonstrations", {"read": 300, "kept": 150, UNDESIRABLE: 150}),
    ("llama_factory/kto_en_demo", "labels", {"read": 300, "kept": 300}),
    ("model_written_evals/survival-instinct", "prompts", {"read": 953, "kept": 953}),
    ("mt_bench/questions", "prompts", {"read": 51, "kept": 51}),
    ("oasst/oasst_trees", "comparisons", {"read": 212, "kept": 212}),
    ("oasst/oasst_trees", "prompts", {"read": 480, "kept": 480}),
    ("prometheus/hhh_alignment", "comparisons", {"read": 221, "kept": 221}),
    ("self_instruct/seed_tasks", "demonstrations", {"read": 173, "kept": 173}),
    ("xstest/xstest_prompts", "prompts", {"read": 450, "kept": 450}),
]


@pytest.mark.parametrize(("name", "kind", "counts"), COUNTS, ids=[f"{name}-{kind}" for name, kind, _ in COUNTS])
def test_nothing_is_lost(name: str, kind: Kind, counts: dict[str, int]) -> None:
    assert read(sample(name), kind).counts == counts
    # Whatever a file holds, PPO finds its prompts in it.
    prompts = read(sample(name), "prompts").items
    assert prompts and all(isinstance(prompt, Prompt) for prompt in prompts)


REFUSED: list[tuple[str, Kind, str]] = [
    ("model_written_evals/agreeableness", "comparisons", "does not say which answer is better"),
    ("pandalm/gpt35_judgements", "comparisons", "gpt_result"),
    ("prometheus/mt_bench_ratings", "prompts", "gpt4_feedback"),
    ("prometheus/mt_bench_ratings", "demonstrations", "demonstrations need"),
    ("llama_factory/kto_en_demo", "comparisons", "compares nothing"),
    ("xstest/xstest_prompts", "demonstrations", "demonstrations need"),
]


@pytest.mark.parametrize(("name", "kind", "said"), REFUSED, ids=[f"{name}-{kind}" for name, kind, _ in REFUSED])
def test_what_does_not_serve_is_refused_with_its_place(name: str, kind: Kind, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read(sample(name), kind)
    assert f"{name.split('/')[1]}.jsonl.gz:1: " in str(caught.value)
    assert len(str(caught.value).split("\n")) == 1


def test_every_answer_and_question_is_where_it_belongs() -> None:
    """The texts of the files, found again by the names that their publishers give."""
    file = sample("alpaca_libre/alpaca_libre")
    for record, fields in zip(read(file, "demonstrations").items, raw(file), strict=True):
        assert record.response.strip() == fields["output"].strip()
        asked = [part.strip() for part in (fields["instruction"], fields["input"]) if part.strip()]
        assert record.prompt.text.split() == " ".join(asked).split()
    file = sample("llama_factory/dpo_en_demo")
    for number, (record, fields) in enumerate(zip(read(file, "comparisons").items, raw(file), strict=True), 1):
        assert isinstance(record, Comparison) and place_of(record) == f"{file}:{number}"
        assert (
            record.chosen == fields["chosen"]["value"].strip() != record.rejected == fields["rejected"]["value"].strip()
        )
        assert [text for _, text in record.prompt.turns] == [turn["value"].strip() for turn in fields["conversations"]]
    file = sample("llama_factory/kto_en_demo")
    for record, fields in zip(read(file, "labels").items, raw(file), strict=True):
        assert isinstance(record, Labelled) and record.desirable is fields["label"]
        assert record.response.strip() == fields["messages"][-1]["content"].strip()


def test_calls_of_tools_and_their_results_are_kept() -> None:
    file = sample("llama_factory/glaive_toolcall_en_demo")
    called = 0
    for record, fields in zip(read(file, "demonstrations").items, raw(file), strict=True):
        assert isinstance(record, Demonstration)
        names = [tool["function"]["name"] for tool in json.loads(record.prompt.tools or "[]")]
        assert names == [tool["name"] for tool in json.loads(fields["tools"])]
        calls = [call for message in record.messages() for call in message.get("tool_calls", [])]
        written = [json.loads(turn["value"]) for turn in fields["conversations"] if turn["from"] == "function_call"]
        assert [call["function"] for call in calls] == written
        results = [text.strip() for role, text in record.prompt.turns if role == "tool"]
        assert results == [turn["value"].strip() for turn in fields["conversations"] if turn["from"] == "observation"]
        called += len(calls)
    assert called > 100


def test_trees_teach_each_answer_once() -> None:
    file = sample("oasst/oasst_trees")
    learnt: Counter[str] = Counter()
    for record in read(file, "demonstrations").items:
        answers = [message["content"] for message in record.messages() if message["role"] == "assistant"]
        learnt.update(answer.strip() for answer, weight in zip(answers, record.learnt, strict=True) if weight)
    best: Counter[str] = Counter()

    def walk(message: dict[str, Any]) -> None:
        replies = message["replies"]
        if message["role"] == "prompter":
            ranks = [reply["rank"] for reply in replies if "rank" in reply]
            replies = [reply for reply in replies if not ranks or reply.get("rank") == min(ranks)]
            best.update(reply["text"].strip() for reply in replies)
        for reply in replies:
            walk(reply)

    for tree in raw(file):
        walk(tree["prompt"])
    assert learnt == best
    ranked = sum(len(record.responses) for record in read(file, "comparisons").items)
    assert ranked == 641


def test_the_majority_of_three_people_counts() -> None:
    file = sample("pandalm/testset")
    with pytest.raises(DataError, match=r"testset\.jsonl\.gz:17: .* is empty"):
        read(file, "comparisons")
    records = read(file, "comparisons", on_error="skip")
    assert records.counts["kept"] + records.counts["empty_field"] == records.counts["read"] == 689
    expected = Counter[Any]()
    for fields in raw(file):
        if fields["response1"].strip() and fields["response2"].strip():
            votes = Counter(fields[f"annotator{number}"] for number in (1, 2, 3)).most_common()
            expected[
                0 if len(votes) == 3 or fields["response1"].strip() == fields["response2"].strip() else votes[0][0]
            ] += 1
    ranks = {(1, 1): 0, (1, 2): 1, (2, 1): 2}
    assert Counter(ranks[record.ranks] for record in records.items if isinstance(record, Ranking)) == expected
