"""Models from and to folders."""
