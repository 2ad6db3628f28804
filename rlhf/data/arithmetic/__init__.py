"""Embedded tasks whose answers can be checked, generated from a seed."""
