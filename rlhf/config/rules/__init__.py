"""Refusals, one file per part of the configuration."""
