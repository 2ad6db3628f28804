"""The same records as columns: one schema for each kind, so that every file of a set has the same."""

from __future__ import annotations

import json
from typing import IO, Any

from rlhf.data.records import Kind

MESSAGES = ("messages", "prompt", "completion", "chosen", "rejected")
"""Columns that hold messages: a text becomes one."""
SPEAKER = {"prompt": "user"}
AS_JSON = ("tools", "synthetic")
"""Columns that hold JSON: their objects differ from record to record, which no column of a fixed type could hold."""


class Columns:
    """A Parquet file that is being written. What has no column of its own stands in `extra_fields`, as JSON."""

    def __init__(self, stream: IO[bytes], kind: Kind) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text = pa.string()
        message = pa.list_(
            pa.struct(
                [("role", text), ("content", text), ("weight", pa.int8()), ("tool_calls", text), ("tool_call_id", text),
                 ("name", text)]
            )
        )  # fmt: skip
        ranked = pa.list_(pa.struct([("text", text), ("rank", pa.int32()), ("score", pa.float64())]))
        own: dict[str, list[tuple[str, Any]]] = {
            "documents": [("text", text), ("messages", message)],
            "demonstrations": [("messages", message)],
            "prompts": [("prompt", message)],
            "comparisons": [
                ("prompt", message), ("chosen", message), ("rejected", message), ("margin", pa.float64()),
                ("responses", ranked),
            ],
            "steps": [("prompt", message), ("completions", pa.list_(text)), ("labels", pa.list_(pa.float64()))],
        }  # fmt: skip
        own["labels"] = [*own["comparisons"], ("completion", message), ("label", pa.bool_())]
        more = [(name, text) for name in (*AS_JSON, "category", "subset", "source", "extra_fields", "dataset")]
        self._schema = pa.schema([*own[kind], *more])
        self._writer = pq.ParquetWriter(stream, self._schema, compression="zstd")
        self._table = pa.Table

    def add(self, objects: list[dict[str, Any]]) -> None:
        """Append records as JSONL has them."""
        rows = [self._row(dict(one)) for one in objects]
        self._writer.write_table(self._table.from_pylist(rows, schema=self._schema))

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()

    def _row(self, held: dict[str, Any]) -> dict[str, Any]:
        if "response" in held:
            held["messages"] = [
                {"role": "user", "content": held.pop("prompt")},
                {"role": "assistant", "content": held.pop("response")},
            ]
        for name in MESSAGES:
            if name in held:
                held[name] = _messages(held[name], SPEAKER.get(name, "assistant"))
        for name in AS_JSON:
            if name in held:
                held[name] = json.dumps(held[name], ensure_ascii=False)
        others = {name: held.pop(name) for name in [*held] if name not in self._schema.names}
        if others:
            held["extra_fields"] = json.dumps(others, ensure_ascii=False)
        return held


def _messages(value: Any, role: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return [
        {**message, "tool_calls": json.dumps(message["tool_calls"], ensure_ascii=False)}
        if "tool_calls" in message
        else message
        for message in value
    ]
