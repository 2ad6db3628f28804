"""GSM8K (Cobbe et al. 2021): a `question`, and an `answer` that is worked out and ends in `#### ` and the number.

Named by data.format=gsm8k alone, since any `question` with `answer` looks like it. The annotations of its calculator,
`<<48/2=24>>`, are taken out of demonstrations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rlhf.data.files.values import BadRecord
from rlhf.data.formats.answers import standard_records
from rlhf.data.formats.fields import Fields, text_of
from rlhf.data.records import Kind, Record

FIELDS = {"question": "the question", "answer": "how it is solved, then #### and the number"}
DETECTED = False

_ANNOTATION = re.compile(r"<<[^<>]*>>")
_END = re.compile(r"(?:^|\n)####[ ]*[-+$]?[\d,.]+\s*$")


def matches(fields: Fields) -> bool:
    """A question with one answer."""
    return {"question", "answer"} <= fields.keys()


def parse(fields: Fields, kind: Kind) -> Iterator[Record]:
    """Raises: BadRecord."""
    answer = text_of(fields, "answer")
    if _END.search(answer) is None:
        raise BadRecord("wrong_format", "answer does not end in #### and a number")
    yield from standard_records({"prompt": fields["question"], "response": _ANNOTATION.sub("", answer)}, kind)
