"""What a run will need, from its configuration alone."""
