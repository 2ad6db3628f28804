"""Backbones, heads, log-probabilities, exports: `transformers` models seen as functions of a `Batch`."""
