"""The whole verb: sources in, training files and a card out, and a stage that trains on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prepare import prepare
from rlhf.config import PrepareConfig, validate
from rlhf.config.rules.preparation import source_entries
from rlhf.data.dataset import load
from rlhf.data.files.prepared import prepared
from rlhf.data.preparation import reading
from rlhf.data.readers import read
from rlhf.data.records import key_of
from rlhf.errors import ConfigError
from rlhf.runs import Summary
from tests.data.formats.test_label_studio import PAIR

SHARED = Path(__file__).parents[3] / "shared" / "data"
Main = Callable[..., int]


@pytest.fixture
def main(program_folder: Path) -> Main:
    """`main("data.path=a.jsonl")` prepares into `out`."""

    def run(*overrides: str, near: str = "null", out: str = "out") -> int:
        return prepare.main([f"hydra.run.dir={out}", f"duplicates.near={near}", *overrides])

    return run


def write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def lines(split: str, out: str = "out") -> list[dict[str, Any]]:
    path = Path(out, f"{split}.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def card(out: str = "out") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(out, "card.json").read_text(encoding="utf-8"))
    return content


def many(count: int, start: int = 0) -> list[dict[str, str]]:
    return [{"prompt": f"What is {n} plus one?", "response": f"It is {n + 1}."} for n in range(start, start + count)]


def test_sources_are_mixed_and_everything_is_counted(main: Main) -> None:
    write("a.jsonl", [*many(100), *many(3), {"prompt": "mine?", "response": "jo@acme.com"}])
    write("b.jsonl", [{"instruction": f"Say {n}.", "input": "", "output": f"{n}!"} for n in range(100)])
    write("test.jsonl", [{"prompt": "I was asked: what is 7 plus one?"}])
    assert main("sources=[{path: a.jsonl, weight: 2, licence: MIT}, {path: b.jsonl, weight: 0.5, name: other}]",
                "decontamination.against=[test.jsonl]", "decontamination.ngram=6", "data.name=mix") == 0  # fmt: skip
    found = card()
    assert [step["left"] for step in found["steps"]][:6] == [204, 204, 204, 203, 200, 200]
    first, other = found["sources"]
    assert (first["name"], first["licence"], other["name"]) == ("a", "MIT", "other")
    assert first["removed"] == {"filter": {"personal_data": 1}, "duplicates": {"exact": 3}}
    assert first["sha256"] == hashlib.sha256(Path("a.jsonl").read_bytes()).hexdigest()
    left_out = other["removed"]["mix"]["weight"]
    assert 25 < left_out < 70 and other["kept"] == 100 - left_out
    for source in found["sources"]:
        assert source["read"] == source["kept"] + sum(sum(r.values()) for r in source["removed"].values())
    train = lines("train")
    assert sum(line["dataset"] == "a" for line in train) == first["written"]["train"] == 2 * (100 - held(first))
    assert sum(line["dataset"] == "other" for line in train) == other["written"]["train"]
    for split, entry in found["splits"].items():
        assert entry["sha256"] == hashlib.sha256(Path("out", entry["file"]).read_bytes()).hexdigest()
        assert read(Path("out", entry["parquet"]), "demonstrations").items == records(split)
    page = Path("out", "README.md").read_text(encoding="utf-8")
    assert "| filter | personal_data | 1 | 1 |  |" in page and "acme" not in page and "MIT" in page
    summary = Summary.read(Path("out"))
    sha256 = hashlib.sha256(Path("out", "card.json").read_bytes()).hexdigest()
    assert [c["sha256"] for c in summary.data_cards] == [sha256] and summary.data == "mix"
    assert summary.final["read"] == 204 and not Path("out", "parts").exists()


def held(source: dict[str, Any]) -> int:
    return int(source["written"]["validation"] + source["written"]["test"])


def records(split: str) -> list[Any]:
    return read(Path("out", f"{split}.jsonl"), "demonstrations").items


def test_evaluation_items_are_removed_and_reported(main: Main) -> None:
    asked = "How many geese fly south in the autumn of a year?"
    write("a.jsonl", [*many(30), {"prompt": f"Tell me. {asked} Thanks.", "response": "Many."}])
    write("test.jsonl", [{"question": "unrelated things entirely", "answer": "a"}, {"question": asked, "answer": "b"}])
    assert main("data.path=a.jsonl", "decontamination.against=[test.jsonl]", "decontamination.ngram=8") == 0
    assert card()["removed"]["decontamination"] == {"overlap": 1}
    (hit,) = lines("contamination")
    assert (hit["place"], hit["item"]) == ("a.jsonl:31", "test.jsonl:2") and hit["words"] in asked.lower()
    assert not any("geese" in line["prompt"] for split in ("train", "validation", "test") for line in lines(split))


def test_killed_and_continued_the_bytes_are_the_same(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasketch", reason="datasketch is of the extra prepare")
    monkeypatch.setattr(reading, "PART", 20)
    write("a.jsonl", [*many(90), {"prompt": "What is 5 plus one?", "response": "It is 6."}])
    assert main("data.path=a.jsonl", near="0.8", out="whole") == 0
    taken = reading.Reading._take

    def killed(self: Any, part: Any, found: Any, raw: Any) -> bool:
        if raw.place.endswith(":50"):
            raise KeyboardInterrupt
        return taken(self, part, found, raw)

    monkeypatch.setattr(reading.Reading, "_take", killed)
    assert main("data.path=a.jsonl", near="0.8", out="pieces") == 130
    assert Summary.read(Path("pieces")).status == "interrupted" and not Path("pieces", "train.jsonl").exists()
    monkeypatch.setattr(reading.Reading, "_take", taken)
    assert main("data.path=a.jsonl", near="0.8", out="pieces") == 2, "the directory is not empty"
    assert main("data.path=a.jsonl", "resume=true", near="0.8", out="pieces") == 0
    names = ["train.jsonl", "validation.jsonl", "test.jsonl", "card.json", "README.md", "parquet/train.parquet"]
    for name in names:
        assert Path("whole", name).read_bytes() == Path("pieces", name).read_bytes(), name
    assert main("data.path=a.jsonl", "resume=true", near="0.8", out="pieces") == 0, "finished: nothing to do"

    def removing(folder: Path, **_: Any) -> None:
        (Path(folder) / "00000.npz").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", removing)
        assert main("data.path=a.jsonl", near="0.8", out="late") == 130
    assert main("data.path=a.jsonl", "resume=true", near="0.8", out="late") == 0
    assert Path("whole", "train.jsonl").read_bytes() == Path("late", "train.jsonl").read_bytes()
    assert not Path("late", "parts").exists()


def test_the_folder_is_split_as_its_card_says(main: Main) -> None:
    write("a.jsonl", many(200))
    assert main("data.path=a.jsonl", "data.val_fraction=0.2", "data.test_fraction=0.2") == 0
    found = load("demonstrations", source="file", path="out", seed=7, val_fraction=0.1)
    assert found.train == records("train") and found.val == records("validation") and found.test == records("test")
    assert not {*map(key_of, found.train)} & {*map(key_of, [*found.val, *found.test])}
    # One file of it is split as any other, and every reader finds the JSONL alone: no record is read twice.
    assert len(read("out", "demonstrations").items) == 200
    assert load("demonstrations", source="hub", path="out", split="validation").counts["read"] == len(found.val)
    # What one path holds out, another one does not train on.
    both = load("demonstrations", source="file", path=["out", "a.jsonl"], seed=7, val_fraction=0.1, test_fraction=0.1)
    assert not {*map(key_of, both.train)} & {*map(key_of, [*both.val, *both.test])} and len(both.train) > 100
    assert not {*map(key_of, both.val)} & {*map(key_of, both.test)} and both.val and both.test


def test_several_paths_with_weights(tmp_path: Path, main: Main) -> None:
    write("a.jsonl", many(50))
    write("b.jsonl", many(50, 1000))
    one = load("demonstrations", source="file", path=["a.jsonl", "b.jsonl"])
    two = load("demonstrations", source="file", path=["a.jsonl", "b.jsonl"], weights=[2, 1])
    assert (one.val, one.test) == (two.val, two.test) and [f.name for f in one.files] == ["a.jsonl", "b.jsonl"]
    first = [r for r in one.train if "1" in r.prompt.text and len(r.prompt.text) > 21]  # type: ignore[union-attr]
    assert len(two.train) > len(one.train) > len(first)
    assert sorted(set(map(two.train.count, one.train[:3]))) == [2] and two.train.count(one.train[-1]) == 1
    assert load("demonstrations", source="file", path=["a.jsonl", "b.jsonl"], limit=10).counts["train"] <= 20


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"data.path": ["a.jsonl", "a.jsonl"]}, "data.path: a.jsonl is named twice"),
    ({"data.path": {"a": 1}}, "data.path: {'a': 1} is no path"),
    ({"data.path": "nothing.jsonl"}, "data.path: nothing.jsonl does not exist"),
    ({"data.path": "a.jsonl", "data.weights": [1.0, 2.0]}, "data.weights: 2 of them for 1"),
    ({"data.path": "a.jsonl", "data.weights": [-1.0]}, "data.weights: -1 is out of range"),
    ({"data.source": "assistant"}, "data.source: assistant is generated"),
    ({"data.path": "a.jsonl", "data.max_length": 99}, "data.max_length: this is for training"),
    ({"data.path": "a.jsonl", "sources": ["b.jsonl"]}, "sources: data.path is given too"),
    ({"data.weights": [1.0], "sources": ["a.jsonl"]}, "data.weights: 1 of them for 0"),
    ({"sources": [{"path": "a.jsonl", "wieght": 2}]}, "sources[0].wieght: unknown key; did you mean weight?"),
    ({"sources": ["b.jsonl", {"path": "a.jsonl", "weight": -1}]}, "sources[1].weight: -1 is out of range"),
    ({"sources": [{"path": "a.jsonl", "limit": 0}]}, "sources[0].limit: 0 is out of range"),
    ({"sources": [{"path": "a.jsonl", "columns": ["x"]}]}, "sources[0].columns: ['x']"),
    ({"sources": [{"path": "a.jsonl", "source": "web"}]}, "sources[0].source: 'web' is not one of"),
    ({"sources": [{"path": "a.jsonl", "split": "test"}]}, "sources[0].split: a.jsonl is one file"),
    ({"sources": [{"weight": 1}]}, "sources[0].path: missing"),
    ({"sources": [{"path": "a.jsonl", "name": "x"}, {"path": "b.jsonl", "name": "x"}]}, "sources: two have the name"),
    ({"data.path": "a.jsonl", "filter.drop_matching": ["("]}, "filter.drop_matching: '('"),
    ({"data.path": "a.jsonl", "filter.min_words": 5, "filter.max_words": 3}, "filter.max_words: 3 is less"),
    ({"data.path": "a.jsonl", "decontamination.against": ["x.jsonl"]}, "decontamination.against: x.jsonl does not"),
    ({"data.path": "a.jsonl", "duplicates.ngram": 65}, "duplicates.ngram: 65"),
    ({"data.path": "a.jsonl", "decontamination.ngram": 65}, "decontamination.ngram: 65"),
    ({"data.path": "a.jsonl", "filter.personal_kinds": ["name"]}, "filter.personal_kinds: 'name' is not one of"),
    ({"data.path": "a.jsonl", "data.val_fraction": 0.5, "data.test_fraction": 0.5}, "data.val_fraction: 0.5"),
]


@pytest.mark.parametrize(("keys", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_impossible_configurations_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.jsonl", many(3))
    write("b.jsonl", many(3))
    config = PrepareConfig()
    for key, value in keys.items():
        section, _, name = key.rpartition(".")
        setattr(getattr(config, section) if section else config, name, value)
    with pytest.raises(ConfigError) as refused:
        validate(config)
    assert str(refused.value).startswith(sentence)


def test_names_of_sources_are_their_files_and_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("x", "y"):
        Path(folder).mkdir()
        write(f"{folder}/a b.jsonl.gz", many(1))
    config = PrepareConfig(
        sources=["x/a b.jsonl.gz", {"path": "y/a b.jsonl.gz", "weight": 2}, {"path": "x", "name": "z"}]
    )
    assert [(entry.name, entry.weight) for entry in source_entries(config)] == [("a-b", 1), ("a-b-2", 2), ("z", 1)]


STOPPED = [
    ("", "sources: none given"),
    ("sources=[a.jsonl,b.jsonl]", "kind: the sources hold different ones (a demonstrations, b comparisons)"),
    ("data.path=a.jsonl kind=comparisons", "a.jsonl:1: "),
    ("data.path=a.jsonl filter.min_words=5000", "nothing is left of 0 records"),
    ("data.path=a.jsonl data.fields={response:response}", "data.fields: response is a field of the records"),
]


@pytest.mark.parametrize(("line", "sentence"), STOPPED, ids=[line for line, _ in STOPPED])
def test_what_only_the_data_show_stops_with_a_sentence(
    main: Main, capsys: pytest.CaptureFixture[str], line: str, sentence: str
) -> None:
    write("a.jsonl", many(3))
    write("b.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    assert main(*line.split()) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(sentence) and "\n" not in told


@pytest.mark.parametrize(
    ("package", "typed"), [("datasketch", "duplicates.near=0.8"), ("py3langid", "filter.languages=[en]")]
)
def test_a_missing_package_is_named_with_its_extra(
    main: Main, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str, typed: str
) -> None:
    monkeypatch.setattr("rlhf.config.rules.preparation.find_spec", lambda name: None if name == package else name)
    write("a.jsonl", many(3))
    assert main("data.path=a.jsonl", typed) == 2
    told = capsys.readouterr().err
    assert told.startswith(typed.split("=")[0]) and package in told and "'.[prepare]'" in told


def test_a_card_of_somebody_else_is_none(tmp_path: Path) -> None:
    for content in ("", "[]", "{}", '{"format": "x"}', '{"format": "rlhf-lab data card 1", "splits": 3}'):
        (tmp_path / "card.json").write_text(content)
        assert prepared(tmp_path) is None


@pytest.mark.ci
def test_five_formats_are_mixed_and_trained_on(main: Main, tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not there")
    from wandb_file import OfflineRun

    from train import train

    offline = "logger.wandb=offline"
    Path("labels.json").write_text(PAIR, encoding="utf-8")
    names = ["oasst/oasst_trees", "fastchat_sharegpt/dummy_conversation", "alpaca_libre/alpaca_libre"]
    files = [f"{{path: {SHARED / name}.jsonl.gz, limit: 60}}" for name in [*names, "hh_rlhf/harmless-base"]]
    sources = ", ".join([*files, "labels.json"])
    assert main(f"sources=[{sources}]", "kind=demonstrations", "data.on_error=skip", "data.name=five", offline) == 0
    assert all(source["kept"] for source in card()["sources"]) and len(card()["sources"]) == 5
    quick = "algo=sft model=tiny model.init=random data=jsonl data.path=out data.name=five train.max_steps=2"
    small = "model.architecture.n_embd=32 model.architecture.n_layer=1 train.batch_size=4 callbacks.progress=false"
    assert train.main([*quick.split(), *small.split(), "train.samples=0", "hydra.run.dir=sft", offline]) == 0
    summary = Summary.read(Path("sft"))
    sha256 = hashlib.sha256(Path("out", "card.json").read_bytes()).hexdigest()
    assert summary.steps == 2 and summary.data_cards == [{"name": "five", "path": "out", "sha256": sha256}]
    made, used = ([a for a in OfflineRun(Path(run)).artifacts if a.type == "dataset"] for run in ("out", "sft"))
    assert [a.used for a in made] == [True] * 5 + [False] and [a.used for a in used] == [True]
    assert (made[-1].name, made[-1].digest) == (used[0].name, used[0].digest), "the graph closes"
    assert used[0].metadata["card_sha256"] == sha256


@pytest.mark.ci
def test_several_files_are_trained_on_and_known_by_their_content(main: Main) -> None:
    from wandb_file import OfflineRun

    from train import train

    write("a.jsonl", many(40))
    write("b.jsonl", many(40, 1000))
    quick = "algo=sft model=tiny model.init=random data=jsonl data.path=[a.jsonl,b.jsonl] train.max_steps=1"
    small = "model.architecture.n_embd=32 model.architecture.n_layer=1 train.batch_size=4 callbacks.progress=false"
    common = [*quick.split(), *small.split(), "train.samples=0"]
    assert train.main([*common, "hydra.run.dir=once", "logger=csv"]) == 0
    assert train.main([*common, "hydra.run.dir=twice", "logger.wandb=offline", "data.weights=[2,1]"]) == 0
    once, twice = (Summary.read(Path(run)) for run in ("once", "twice"))
    assert once.id != twice.id and once.data_cards == []
    used = [a for a in OfflineRun(Path("twice")).artifacts if a.used]
    assert [a.metadata["path"] for a in used] == ["a.jsonl", "b.jsonl"]
    Path("b.jsonl").rename("c.jsonl")
    moved = [item.replace("b.jsonl", "c.jsonl") for item in common]
    assert train.main([*moved, "hydra.run.dir=once", "logger=csv", "resume=true"]) == 0, (
        "a moved file is the same experiment"
    )
