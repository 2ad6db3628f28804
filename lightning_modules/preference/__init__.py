"""What algorithms share that learn from fixed answers: comparisons and labels, with a reference or without."""
