"""What runs in an environment of its own: ours, each peer, and the machine's own speed."""
