"""One training stage: its module and data built, its run watched, its model exported."""
