"""Charts as data, what they show, and the two that draw them."""
