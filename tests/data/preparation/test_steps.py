"""Reading to parts, duplicates, evaluations, mixing: each on records small enough to be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlhf.data.formats.parse import parse
from rlhf.data.preparation import reading
from rlhf.data.preparation.normalise import normaliser
from rlhf.data.preparation.output import mix
from rlhf.data.preparation.parts import Parts
from rlhf.data.preparation.reading import Reading
from rlhf.data.preparation.removal import duplicates
from rlhf.data.preparation.removal.overlap import Evaluations
from rlhf.data.preparation.source import Source, common_kind, kind_of_source
from rlhf.data.preparation.texts import texts_of
from rlhf.data.preparation.weights import copies, repeated
from rlhf.data.preparation.words import WordNumbers, words_of
from rlhf.data.records import Demonstration, Prompt
from rlhf.data.splits import fraction_of
from rlhf.errors import DataError

LONG = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "seven",
    "grey",
    "geese",
    "fly",
    "south",
    "past",
    "an",
    "old",
    "stone",
    "mill",
]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    return path


def says(prompt: str, response: str) -> dict[str, str]:
    return {"prompt": prompt, "response": response}


def read(folder: Path, rows: list[Any], kind: Any = "demonstrations", **how: Any) -> Parts:
    (folder / "parts").mkdir(exist_ok=True)
    source = Source(str(write(folder / "a.jsonl", rows)), "a")
    return Reading(kind, normalise=normaliser(), **how).read([source], folder / "parts", lambda *_: None)


def counts(parts: Parts) -> dict[str, int]:
    return dict(parts.counts(0))


class TestReading:
    def test_every_record_is_kept_or_counted_by_its_reason(self, tmp_path: Path) -> None:
        rows = [says("a", "b"), says("a", ""), {"x": 1}, says("a", "write to jo@acme.com"), says(" a\r\n", "c"), "d"]
        parts = read(tmp_path, rows, on_error="skip", examples=1)
        assert counts(parts) == {
            "read": 6,
            "usable": 3,
            "changed/normalised": 1,
            "removed/reader/empty_field": 1,
            "removed/reader/missing_field": 1,
            "removed/reader/wrong_type": 1,
            "removed/filter/personal_data": 1,
        }
        assert parts.records == 2 and json.loads(parts.line(1)) == {**says("a", "c"), "dataset": "a"}
        assert parts.place(1) == f"{tmp_path}/a.jsonl:5"
        (shown,) = parts.examples(1)["filter/personal_data"]
        assert shown["place"].endswith("a.jsonl:4") and "[EMAIL]" in shown["text"] and "acme" not in json.dumps(shown)

    def test_personal_data_can_be_masked_or_kept(self, tmp_path: Path) -> None:
        masked, kept = tmp_path / "m", tmp_path / "k"
        for folder, how in ((masked, "mask"), (kept, "keep")):
            folder.mkdir()
            parts = read(folder, [says("a", "write to jo@acme.com")], personal=how, kinds=("email",))
            said = json.loads(parts.line(0))["response"]
            assert said == {"mask": "write to [EMAIL]", "keep": "write to jo@acme.com"}[how]

    def test_a_bad_record_stops_unless_it_may_be_skipped(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a\.jsonl:2: response is empty"):
            read(tmp_path, [says("a", "b"), says("a", "")])

    @pytest.mark.parametrize("stop", [0, 3, 4, 9])
    def test_what_was_killed_continues_to_the_same_bytes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
    ) -> None:
        monkeypatch.setattr(reading, "PART", 4)
        rows = [says(f"q{n}", f"a{n}") for n in range(10)]
        whole, pieces = tmp_path / "whole", tmp_path / "pieces"
        for folder in (whole, pieces):
            folder.mkdir()
        read(whole, rows)
        taken = Reading._take

        def until(self: Reading, part: Any, found: Any, raw: Any) -> bool:
            if raw.place.endswith(f":{stop + 1}"):
                raise KeyboardInterrupt
            return taken(self, part, found, raw)

        monkeypatch.setattr(Reading, "_take", until)
        with pytest.raises(KeyboardInterrupt):
            read(pieces, rows)
        monkeypatch.setattr(Reading, "_take", taken)
        (pieces / "parts" / ".00009.jsonl.part").write_text("what a killed process leaves")
        parts = read(pieces, rows)
        assert [part.records for part in parts.all] == [4, 4, 2]
        for file in sorted((whole / "parts").iterdir()):
            assert (pieces / "parts" / file.name).read_bytes() == file.read_bytes().replace(b"whole", b"pieces")

    def test_columns_are_read_under_the_names_of_the_lab(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", [{"q": {"text": "a"}, "solution": "b", "id": 3}, {"q": {}}])
        source = Source(str(path), "a", columns={"prompt": "q.text", "response": "solution"})
        found = [r for raw in source.values("demonstrations") for r in source.records(raw, "demonstrations", {})]
        assert found[0] == Demonstration(Prompt.of("a"), "b")
        assert getattr(found[1], "reason", "") == "missing_field" and "q.text" in str(found[1])

    def test_sources_of_different_kinds_are_refused_by_their_names(self, tmp_path: Path) -> None:
        shown = Source(str(write(tmp_path / "a.jsonl", [says("a", "b")])), "shown")
        compared = Source(str(write(tmp_path / "b.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])), "both")
        asked = Source(str(write(tmp_path / "c.jsonl", [{"prompt": "a"}])), "asked")
        assert [kind_of_source(s) for s in (shown, compared, asked)] == ["demonstrations", "comparisons", "prompts"]
        assert common_kind([compared, compared]) == "comparisons"
        with pytest.raises(DataError, match=r"^kind: .*shown demonstrations, both comparisons.*kind=demonstrations"):
            common_kind([shown, compared])

    def test_a_licence_is_found_beside_the_file(self, tmp_path: Path) -> None:
        source = Source(str(write(tmp_path / "a.jsonl", [says("a", "b")])), "a")
        assert source.found_licence() == "unknown"
        (tmp_path / "README.md").write_text("# x\nLicence: Apache-2.0 (the repository's LICENSE).\n")
        assert source.found_licence() == "Apache-2.0 (by its README)"
        assert Source(source.path, "a", licence="MIT").found_licence() == "MIT"


class TestDuplicates:
    def test_equal_records_go_and_the_first_stays(self, tmp_path: Path) -> None:
        rows = [says("a", "b"), says("a", "c"), says("a ", "b\r\n"), says("b", "a"), says("a", "b")]
        parts = read(tmp_path, rows)
        found = duplicates.Found.none(parts.records)
        duplicates.exact(parts, found)
        assert found.state.tolist() == [0, 0, 1, 0, 1]
        assert found.twin.tolist() == [-1, -1, 0, -1, 0]

    def near(self, folder: Path, rows: list[Any], threshold: float, kind: Any = "demonstrations") -> duplicates.Found:
        pytest.importorskip("datasketch", reason="datasketch is of the extra prepare")
        from rlhf.data.preparation.removal.signatures import Signatures

        signatures, numbers = Signatures(threshold, 128, 3), WordNumbers()
        parts = read(folder, rows, kind, signatures=signatures)
        found = duplicates.Found.none(parts.records)
        pairs = duplicates.candidates(parts, signatures, found, lambda _: None)

        def sets(record: int) -> tuple[str, tuple[np.ndarray, ...]]:
            texts = texts_of(next(iter(parse(json.loads(parts.line(record)), kind))))  # type: ignore[arg-type]
            words = [numbers(words_of(text)) for text in texts.all]
            return texts.verdict, signatures.parts(words[0], words[1:])

        duplicates.near(pairs, sets, threshold, found, lambda _: None)
        return found

    def test_similar_records_go_where_both_prompt_and_answer_are_similar(self, tmp_path: Path) -> None:
        # 20 words have 18 trigrams; another last word leaves 17 of 19: 0.895. Another prompt, or an answer of two
        # words that is another one, is no duplicate however long the rest is.
        text, other = " ".join(LONG), " ".join([*LONG[:-1], "bridge"])
        rows = [
            says(text, text),
            says(text, other),
            says(text.upper(), f"{text}!"),
            says(text, "Yes indeed."),
            says(text, "No way."),
            says("Why?", text),
        ]
        assert self.near(tmp_path, rows, 0.85).state.tolist() == [0, 2, 2, 0, 0, 0]
        assert self.near(tmp_path, rows, 0.95).state.tolist() == [0, 0, 2, 0, 0, 0]

    def test_a_vote_that_contradicts_another_is_no_duplicate(self, tmp_path: Path) -> None:
        text, other, third = (" ".join([*LONG[:-1], last]) for last in ("mill", "bridge", "house"))
        votes = [(text, other), (other, text), (f"{text}!", other.upper()), (text, third)]
        rows = [{"prompt": "Go on, please.", "chosen": chosen, "rejected": rejected} for chosen, rejected in votes]
        assert self.near(tmp_path, rows, 0.85, "comparisons").state.tolist() == [0, 0, 2, 2]

    def test_whoever_goes_is_similar_to_one_that_stays(self, tmp_path: Path) -> None:
        # A chain, each similar to the next at 17/19 and to the one after it at 16/20.
        chain = [" ".join([*LONG[n:], *map(str, range(n))]) for n in range(4)]
        found = self.near(tmp_path, [says("Go on, please.", text) for text in chain], 0.85)
        assert found.state.tolist() == [0, 2, 0, 2]
        assert found.twin.tolist() == [-1, 0, -1, 2]

    def test_bands_agree_with_those_of_datasketch(self, tmp_path: Path) -> None:
        datasketch = pytest.importorskip("datasketch", reason="datasketch is of the extra prepare")
        from rlhf.data.preparation.removal.signatures import Signatures

        draw = np.random.default_rng(3)
        signatures = Signatures(0.5, 64, 1)
        sets = [np.sort(draw.choice(2**60, 30, replace=False).astype(np.uint64)) for _ in range(30)]
        sets += [np.concatenate([one[: 15 + n], sets[(n + 1) % 30][: 15 - n]]) for n, one in enumerate(sets[:15])]
        hashes = np.stack([signatures([one]) for one in sets])
        lsh = datasketch.MinHashLSH(num_perm=64, params=(signatures.bands, signatures.rows))
        expected = set()
        for number, row in enumerate(hashes):
            sketch = datasketch.MinHash(num_perm=64, hashvalues=row, scheme="affine32")
            expected |= {(other, number) for other in lsh.query(sketch)}
            lsh.insert(number, sketch)
        ours = set()
        for band in range(signatures.bands):
            keys = signatures.band(hashes, band)
            ours |= {(i, j) for j in range(len(keys)) for i in range(j) if keys[i] == keys[j]}
        assert ours == expected and len(ours) > 5


class TestEvaluations:
    def index(self, folder: Path, *questions: str, ngram: int = 8) -> Evaluations:
        path = write(folder / "test.jsonl", [{"prompt": question} for question in questions])
        return Evaluations([str(path)], ngram, WordNumbers())

    def found(self, index: Evaluations, *texts: str) -> str | None:
        words = [words_of(text) for text in texts]
        hit = index.hit(words, [WordNumbers()(own) for own in words])
        return hit.item.rsplit(":")[-1] if hit else None

    def test_a_question_is_found_by_words_in_a_row(self, tmp_path: Path) -> None:
        index = self.index(tmp_path, "Who are you?", " ".join(LONG), "one two three four five six seven")
        assert self.found(index, "x", f"Say {' '.join(LONG[4:12])}.") == "2"
        assert self.found(index, f"Say {' '.join(LONG[4:11])} twice.") is None, "seven of eight"
        assert self.found(index, "so one, two, three, four, five, six, seven, go") == "3", "all of a shorter question"
        assert self.found(index, "one two three four five six") is None
        assert self.found(index, "Hi", "who are you") == "1", "a whole turn"
        assert self.found(index, "And who are you then?") is None
        assert self.found(index, "", "…") is None

    def test_what_many_questions_share_is_no_question(self, tmp_path: Path) -> None:
        shared = "answer the following question with yes or no"
        index = self.index(tmp_path, *(f"{shared} {n} {n + 100} {n + 200}" for n in range(11)))
        assert self.found(index, shared) is None
        assert self.found(index, f"{shared} 3 103 203") == "4"

    def test_a_question_that_is_asked_many_times_is_one(self, tmp_path: Path) -> None:
        assert self.found(self.index(tmp_path, *[" ".join(LONG)] * 20), " ".join(LONG)) == "1"

    def test_a_file_without_questions_is_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.jsonl", [{"y": 1}])
        with pytest.raises(DataError, match=r"^decontamination\.against: .*x\.jsonl"):
            Evaluations([str(path)], 13, WordNumbers())


class TestMixing:
    def test_weights_are_whole_copies_and_a_share(self) -> None:
        digests = np.random.default_rng(1).integers(2**63, size=4000, dtype=np.uint64)
        assert set(copies(digests, np.full(4000, 2.0), 1).tolist()) == {2}
        some = copies(digests, np.full(4000, 1.25), 1)
        assert set(some.tolist()) == {1, 2} and 0.22 < (some == 2).mean() < 0.28
        assert not np.array_equal(some, copies(digests, np.full(4000, 1.25), 2))
        records: list[Any] = [Demonstration(Prompt.of(f"q{n}"), "a") for n in range(400)]
        half = repeated(records, 0.5, 1)
        assert 160 < len(half) < 240 and half == [r for r in records if r in half], "in their order"
        assert repeated(records, 2, 1)[:4] == [records[0], records[0], records[1], records[1]]

    def test_splits_are_those_of_the_prompt_and_only_training_records_are_repeated(self, tmp_path: Path) -> None:
        rows = [says(f"q{n // 2}", f"a{n}") for n in range(200)]
        parts = read(tmp_path, rows)
        stays = np.ones(200, dtype=bool)
        stays[7] = False
        mixture = mix(parts, stays, [2.0], 1, 0.2, 0.1, True, "demonstrations")
        where = {split: set(rows.tolist()) for split, rows in mixture.rows.items()}
        for number, row in enumerate(rows):
            place = fraction_of(texts_key(row["prompt"]), 1)
            split = "test" if place < 0.1 else "validation" if place < 0.3 else "train"
            assert (number in where[split]) == (number != 7)
        numbers, times = np.unique(mixture.rows["train"], return_counts=True)
        assert set(times) == {2} and len(numbers) == len(where["train"])
        assert len(mixture.rows["validation"]) == len(where["validation"])
        assert mixture.rows["train"].tolist() != sorted(mixture.rows["train"].tolist())
        again = mix(parts, stays, [2.0], 1, 0.2, 0.1, False, "demonstrations")
        assert again.rows["train"].tolist() == sorted(mixture.rows["train"].tolist())

    def test_what_a_split_chose_already_is_split_anew(self, tmp_path: Path) -> None:
        rows = [says(f"q{n}", "a") for n in range(400) if fraction_of(texts_key(f"q{n}"), 1) >= 0.3]
        parts = read(tmp_path, rows)
        mixture = mix(parts, np.ones(len(rows), dtype=bool), [1.0], 1, 0.2, 0.1, True, "demonstrations")
        assert mixture.level == 1
        assert min(len(mixture.rows[split]) for split in ("validation", "test")) > 10


def texts_key(prompt: str) -> str:
    return Prompt.of(prompt).key
