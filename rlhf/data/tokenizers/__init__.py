"""Tokenizers behind one small interface."""
