"""From overrides to a typed configuration, and sentences about what is wrong with them."""
