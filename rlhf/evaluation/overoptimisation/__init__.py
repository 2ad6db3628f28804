"""Over-optimisation: where it sets in, and how gold and proxy score move with the distance from the start."""
