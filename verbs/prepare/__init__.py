"""`prepare.py`: sources in, training files and a data card out."""
