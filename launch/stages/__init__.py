"""The graph of a pipeline: its stages, rounds of them, gates, and which may run at the same time."""
