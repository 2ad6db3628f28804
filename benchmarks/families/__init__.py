"""Tiny models of every family in `transformers`, and the tables that they give for `docs/models.md`."""
