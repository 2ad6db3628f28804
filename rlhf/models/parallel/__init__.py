"""Models over processes, and what their backward passes keep."""
