"""What a GPU is asked in a few minutes: is it right, how fast, and a real alignment. See docs/gpu.md."""
