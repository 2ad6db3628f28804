"""Keys of the verbs other than training."""
