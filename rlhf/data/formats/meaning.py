"""Which unread fields could change what a record means: such a field stops the run.

Three kinds of names are known: those of context (a system prompt, images, another conversation), those of verdicts (a
label, a score, a weight) and those that only say where a record comes from. A field of any other name passes where it
says little (a number, a truth value, a short text) and stops the run where it says much: text with a line break or of
more than 100 characters, anything with such text in it, or objects with roles, since that is what questions and answers
look like. `data.ignore` names the fields that may pass.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rlhf.data.files.values import BadRecord

UNKNOWN_FIELD = "unknown_field"
"""The reason that stops a run whatever `data.on_error` says: all records of the file have the same fault."""

DIFFER, NOTHING_LEARNT, UNDESIRABLE = "differ_before_last_turn", "nothing_learnt", "undesirable"
WITHOUT_COMPARISON, LEFT_OUT = "without_comparison", "left_out"
CANCELLED, UNDECIDED, UNTOUCHED = "skipped_annotation", "nothing_chosen", "not_annotated"
TOLERATED = (
    DIFFER, NOTHING_LEARNT, UNDESIRABLE, WITHOUT_COMPARISON, LEFT_OUT, CANCELLED, UNDECIDED, UNTOUCHED,
)  # fmt: skip
"""Reasons to leave out a record that are no errors: the file itself marks it as unusable. They never stop a run."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LONG = 100
"""Characters: more of them are a text to read and not a name."""

CONTEXT = _words(
    """
    system system_prompt system_message sys history context contexts conversation conversations dialogue dialog
    messages turns tools functions tool_calls function_call images image image_path audio audios video videos media
    objects documents document passage passages background persona instruction instructions input inputs query
    question knowledge prefix suffix reasoning reasoning_content thinking thought thoughts cot chain_of_thought
    scratchpad
    """
)
"""Names of what belongs to a prompt or to an answer: it may not be left out of any record."""

VERDICTS = _words(
    """
    label labels kto_tag kto_label score scores overall_score rating ratings rank ranks ranking reward rewards
    margin weight weights loss loss_scale train preference preferences preferred winner better worse vote verdict
    helpfulness correctness quality desirable is_desirable accepted is_accepted is_safe is_correct response
    responses completion completions output outputs answer answers chosen rejected rejected_response
    rejected_messages rejected_output negative negatives
    """
)
"""Names of what says how good an answer is, or of other answers: without meaning only where prompts alone are read."""

HARMLESS = _words(
    """
    id ids uuid guid idx index hash sha256 md5 key source sources origin category categories subset lang language
    locale topic topics domain tag tags task task_type type name title url urls link links license licence author
    authors annotator annotators model models model_name generator created created_at updated_at timestamp date time
    split version dataset dataset_name meta metadata extra extra_info extra_fields info additional_metadata
    reference references solution ground_truth note notes comment comments difficulty emojis focus synthetic
    """
)
"""Names of what says where a record comes from, or what is for people and for checkers of answers."""

NEUTRAL = {"weight": (1,), "loss_scale": (1,)}
"""Values at which a field changes nothing."""


def check_understood(
    fields: dict[str, Any], known: Collection[str], shown: str = "", verdicts: bool = True, format: str = ""
) -> None:
    """Refuse a field that is not known and could change what the record means.

    Args:
        known: names that the caller reads, or leaves out knowing what they say; `*`: all.
        shown: where the fields stand within the record.
        verdicts: whether the record is read for its answers, so that a verdict on them counts.
        format: what the record is read as.

    Raises:
        BadRecord: with the field's name and how to let it pass.
    """
    for name, value in fields.items():
        if "*" not in known and name not in known and could_change(name, value, verdicts):
            path = f"{shown}.{name}" if shown else name
            read_as = f" by data.format={format}" if format else ""
            raise BadRecord(
                UNKNOWN_FIELD,
                f"field {path} is not understood{read_as} and could change what the record means; "
                f"data.ignore=[{name}] lets it pass",
            )


def could_change(name: str, value: Any, verdicts: bool = True) -> bool:
    """Whether a field of this name and value could change what a record means."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    if value is None or value in ("", [], {}) or value in NEUTRAL.get(plain, ()):
        return False
    if plain in CONTEXT:
        return True
    if plain in VERDICTS:
        return verdicts
    return plain not in HARMLESS and says_much(value)


def says_much(value: Any) -> bool:
    """Whether a value holds text that is more than a name, or objects with roles."""
    if isinstance(value, str):
        return "\n" in value.strip() or (len(value) > LONG and "://" not in value)
    if isinstance(value, dict):
        return bool({"role", "from"} & {*value}) or any(says_much(part) for part in value.values())
    return isinstance(value, list | tuple) and any(says_much(part) for part in value)
