"""`label.py`: the page on which people judge answers, and what their votes say together."""
