"""Many points: what varies, where they run, how they compare."""
