"""Launchers and a sweeper for Hydra, which looks for plugins in this package and nowhere else."""
