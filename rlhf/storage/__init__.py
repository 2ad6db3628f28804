"""Files that others may have written: read within limits, written without leaving their folder."""

from __future__ import annotations

from rlhf.storage.reading import Unreadable, open_regular, parse_json, read_json, read_json_lines, read_text, read_yaml
from rlhf.storage.weights import weight_files, weights_sha256

__all__ = [
    "Unreadable",
    "open_regular",
    "parse_json",
    "read_json",
    "read_json_lines",
    "read_text",
    "read_yaml",
    "weight_files",
    "weights_sha256",
]
