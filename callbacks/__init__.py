"""What watches a run and never changes its numbers."""
