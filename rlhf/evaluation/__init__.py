"""How runs are compared."""
