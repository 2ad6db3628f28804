"""Sources are read, normalised, filtered and looked up in evaluations, and what passes is written to parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from rlhf.data.files.raw import BadRecord, Raw
from rlhf.data.preparation.beside import with_beside
from rlhf.data.preparation.lines import object_of, record_of
from rlhf.data.preparation.parts import Part, Parts
from rlhf.data.preparation.removal.filters import Filters, Removal
from rlhf.data.preparation.removal.overlap import Evaluations, Hit
from rlhf.data.preparation.removal.personal import masked
from rlhf.data.preparation.removal.signatures import Signatures
from rlhf.data.preparation.source import Source, check
from rlhf.data.preparation.texts import Texts, digest_of, texts_of, with_texts
from rlhf.data.preparation.words import WordNumbers, words_of
from rlhf.data.readers import OnError
from rlhf.data.records import Kind, Record, key_of, place_of
from rlhf.data.splits import fraction_of
from rlhf.errors import ConfigError, DataError

PART = 10_000
"""Records that are read for a part: some 10 MB, and what is lost at most when a run is killed."""
SHOWN = 300
"""Characters of a removed record that an example has."""
TOLD = 500
"""Values between two words to whoever watches."""


@dataclass
class Reading:
    """How sources are read.

    Attributes:
        normalise: what is done to every text. personal: `drop`, `mask` or `keep`. kinds: of personal data; `None`: all.
        signatures: `None`: no near duplicates are looked for. evaluations: `None`: there are none.
        seed: of the split. examples: how many are kept for each reason.
    """

    kind: Kind
    fields: Mapping[str, str] = field(default_factory=dict)
    on_error: OnError = "stop"
    normalise: Callable[[str], str] = str
    filters: Filters = field(default_factory=Filters)
    personal: str = "drop"
    kinds: tuple[str, ...] | None = None
    signatures: Signatures | None = None
    evaluations: Evaluations | None = None
    numbers: WordNumbers = field(default_factory=WordNumbers)
    seed: int = 1
    examples: int = 3

    def read(self, sources: list[Source], folder: Path, tell: Callable[[Source, int], None]) -> Parts:
        """All sources to parts; those that are there already are kept.

        Args:
            tell: is called now and then with a source and how many records of all were read.

        Raises:
            DataError: a source can't be read, or none of it can be used.
            ConfigError: a name in `fields` says something else in a record.
        """
        done = Parts(folder)
        read = sum(part.about["counts"].get("read", 0) for part in done.all)
        number = len(done.all)
        for place, source in enumerate(sources):
            mine = [part.about for part in done.all if part.source == place]
            if mine and mine[-1]["last"]:
                continue
            so_far = sum(about["counts"].get("usable", 0) for about in mine)
            part = Part(place, source.name, mine[-1]["values"] if mine else 0)
            first = ""
            for raw in islice(source.values(self.kind), part.values, None):
                part.values += 1
                for found in source.records(raw, self.kind, self.fields):
                    if source.limit is not None and so_far >= source.limit:
                        break
                    part.counts["read"] += 1
                    read += 1
                    usable = self._take(part, found, raw)
                    so_far += usable
                    if not usable and not first:
                        first = f"{raw.place}: {found}"
                if part.values % TOLD == 0:
                    tell(source, read)
                if source.limit is not None and so_far >= source.limit:
                    break
                if part.counts["read"] >= PART:
                    part.write(folder, number)
                    number, part = number + 1, Part(place, source.name, part.values)
            part.last = True
            if not so_far:
                raise DataError(
                    f"{source.shown}: no {self.kind} in it"
                    + (f"; the first that was left out is {first}" if first else "")
                )
            part.write(folder, number)
            number += 1
            tell(source, read)
        return Parts(folder)

    def _take(self, part: Part, found: Record | BadRecord, raw: Raw) -> bool:
        """Put a record into the part, or count why not; whether the reader could use it."""
        if isinstance(found, BadRecord):
            check(found, raw.place, self.on_error)
            self._remove(part, "reader", Removal(found.reason, str(found)[:SHOWN]), raw.place, _shown(raw.value))
            return False
        part.counts["usable"] += 1
        place = raw.place or place_of(found)
        before = texts_of(found)
        try:
            record, texts = self._normalised(part, found, before)
        except ValueError as error:
            self._remove(part, "normalise", Removal(str(error).replace(" ", "_")), place, before.prompt)
            return True
        if self.personal != "keep":
            kinds = self._personal(record, texts)
            if kinds and self.personal == "drop":
                found_kinds = Removal("personal_data", ", ".join(kinds))
                self._remove(part, "filter", found_kinds, place, "\n".join(texts.all))
                return True
            if kinds:
                try:
                    record = with_beside(with_texts(record, self._masked), self._masked)
                except ValueError as error:  # answers that differ in an address only
                    self._remove(part, "filter", Removal(f"masked: {error}".replace(" ", "_")), place, texts.prompt)
                    return True
                texts = texts_of(record)
                part.counts["changed/masked"] += 1
        words = [words_of(text) for text in texts.all]
        turns = len(texts.turns)
        lengths = sum(map(len, words[:turns])), [len(own) for own in words[turns:]]
        removal = self.filters.removal(texts, *lengths)
        if removal is not None:
            self._remove(part, "filter", removal, place, "\n".join(texts.all))
            return True
        self._keep(part, record, texts, words, place)
        return True

    def _masked(self, text: str) -> str:
        return masked(text, self.kinds)[0]

    def _personal(self, record: Record, texts: Texts) -> tuple[str, ...]:
        """Kinds of personal data in a record: in its texts, system texts and earlier turns among them, and beside."""
        found = [kind for text in texts.all for kind in masked(text, self.kinds)[1]]

        def look(text: str) -> str:
            found.extend(masked(text, self.kinds)[1])
            return text

        with_beside(record, look)
        return tuple(dict.fromkeys(found))

    def _normalised(self, part: Part, record: Record, before: Texts) -> tuple[Record, Texts]:
        changed = any(self.normalise(text) != text for text in before.all)
        if not changed:
            return record, before
        found = with_texts(record, self.normalise)
        part.counts["changed/normalised"] += 1
        return found, texts_of(found)

    def _keep(self, part: Part, record: Record, texts: Texts, words: list[list[str]], place: str) -> None:
        try:
            line = line_of(record, part.dataset)
        except UnicodeEncodeError:  # texts have been looked at, and what stands beside them has not
            error = BadRecord("not_utf8", "a field beside the texts holds half a character (a lone surrogate)")
            check(error, place, self.on_error)
            self._remove(part, "reader", Removal(error.reason, str(error)), place, texts.prompt)
            return
        key = key_of(record)
        if self.fields:
            self._check_names(line, key, texts, place)
        ends = np.cumsum([len(own) for own in words])
        numbers = np.split(self.numbers([word for own in words for word in own]), ends[:-1])
        turns = len(texts.turns)
        hit = self.evaluations.hit(words, numbers) if self.evaluations is not None else None
        if hit is not None:
            part.hits[len(part.lines)] = _as_dict(hit)
        if self.signatures is not None:
            prompt = np.concatenate(numbers[:turns])
            part.hashes.append(self.signatures(self.signatures.parts(prompt, numbers[turns:])))
        columns = part.columns
        digest = digest_of(key, texts)
        columns["digest"].append(int.from_bytes(digest[:8], "little"))
        columns["digest_more"].append(int.from_bytes(digest[8:], "little"))
        columns["uniforms"].append(fraction_of(key, self.seed))
        columns["prompt_words"].append(sum(map(len, words[:turns])))
        columns["answer_words"].append(max(map(len, words[turns:]), default=0))
        columns["contaminated"].append(hit is not None)
        part.places.append(place)
        part.lines.append(line)

    def _check_names(self, line: bytes, key: str, texts: Texts, place: str) -> None:
        """Refuse fields by whose names a reader would find another question or answer in the line.

        Raises:
            ConfigError: they have such names.
        """
        back = record_of(line, self.kind, self.fields)
        if isinstance(back, BadRecord) or (key_of(back), texts_of(back).answers) != (key, texts.answers):
            raise ConfigError(
                f"data.fields: {', '.join(self.fields)}: the record of {place} would be read as another one with a "
                "field of such a name; choose another name"
            )

    def _remove(self, part: Part, step: str, removal: Removal, place: str, text: str) -> None:
        part.counts[f"removed/{step}/{removal.reason}"] += 1
        shown = part.examples.setdefault(f"{step}/{removal.reason}", [])
        if len(shown) < self.examples:
            shown.append(example(place, text, removal.found))


def line_of(record: Record, dataset: str) -> bytes:
    """The line of a record, with its end."""
    return (json.dumps(object_of(record, dataset), ensure_ascii=False) + "\n").encode("utf-8")


def example(place: str, text: str, found: str = "") -> dict[str, str]:
    """A removed record for the card: where it stands, its beginning without personal data, and what was found."""
    # A record may have gone because of half a character, which no file could hold.
    text, found = (said.encode("utf-8", "backslashreplace").decode("utf-8") for said in (text[: 2 * SHOWN], found))
    text = masked(text)[0]
    cut = text[:SHOWN] + ("…" if len(text) > SHOWN else "")
    return {"place": place, "text": cut, **({"found": masked(found)[0]} if found else {})}


def _as_dict(hit: Hit) -> dict[str, str]:
    return {"item": hit.item, "words": hit.words}


def _shown(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
