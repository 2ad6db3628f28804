"""MinHash of records (Broder 1997), by datasketch, and how its hashes are cut into bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlhf.data.preparation.words import shingles

RECALL = (0.1, 0.9)
"""How much a pair found in vain counts against a missed one: pairs are looked at before anything is removed."""
_PARTS = np.random.Generator(np.random.Philox(29)).integers(2**63, size=256, dtype=np.uint64)


class Signatures:
    """MinHashes of records.

    Args:
        threshold: similarity that is looked for. permutations: hashes of each. ngram: words of an n-gram.

    Attributes:
        bands, rows: so many groups of so many hashes; records that agree in a whole group are looked at.
    """

    def __init__(self, threshold: float, permutations: int, ngram: int) -> None:
        from datasketch import MinHash, MinHashLSH

        lsh = MinHashLSH(threshold=min(threshold, 0.99), num_perm=permutations, weights=RECALL)
        self.threshold, self.permutations, self.ngram = threshold, permutations, ngram
        self.bands, self.rows = int(lsh.b), int(lsh.r)
        self._sketch = MinHash(num_perm=permutations, seed=1, hashfunc=int, scheme="affine32")

    def parts(self, prompt: np.ndarray, answers: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The n-grams of the prompt and of each answer, given their words as numbers."""
        return tuple(shingles(numbers, self.ngram) for numbers in (prompt, *answers))

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Hashes, [permutations] uint32. The same words in another part of a record are other n-grams."""
        sketch = self._sketch
        sketch.clear()
        # The upper half, since the lower bits of a product depend on the lower bits of its factors alone.
        mixed = [(part ^ _PARTS[place % 256]) >> np.uint64(32) for place, part in enumerate(parts)]
        everything = np.concatenate(mixed) if mixed else np.empty(0, dtype=np.uint64)
        if len(everything):
            sketch.update_batch(everything.tolist())
        return np.asarray(sketch.hashvalues, dtype=np.uint32)

    def band(self, signatures: np.ndarray, band: int) -> np.ndarray:
        """One number for each record's hashes of a band, [n] uint64.

        Args:
            signatures: [n, permutations] uint32.
        """
        found = np.zeros(len(signatures), dtype=np.uint64)
        for column in range(band * self.rows, (band + 1) * self.rows):
            found = (found ^ signatures[:, column]) * np.uint64(0x9E3779B97F4A7C15)
            found ^= found >> np.uint64(31)
        return found
