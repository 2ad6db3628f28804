"""What scores a response: learned reward models, and any function of a batch with the same signature."""
