"""Whether a run gives the same numbers after a kill, and in every layout."""
