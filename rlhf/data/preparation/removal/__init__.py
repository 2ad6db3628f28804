"""Which records go, and why: for what they say, for what an earlier one says, for what an evaluation asks."""
