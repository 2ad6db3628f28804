"""How a backbone is given rows, and how its attention reads them."""
