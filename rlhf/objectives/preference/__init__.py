"""Losses that learn from judged answers: pairs, rankings and labels, with a reference or without."""
