"""Samplers behind one interface, the episodes they make, and the randomness that makes them repeatable."""
