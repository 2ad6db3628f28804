"""What algorithms share that learn from samples of their own: the flow of an iteration, and what stands in it."""
