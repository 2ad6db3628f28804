"""Sources become clean training files: normalised, filtered, without duplicates and evaluation items, mixed and split.

The order is that of the files: `reading` writes what passes the filters to parts on the disk (so that a killed run
continues), `duplicates` and `overlap` say what else goes, `output` mixes and writes, and `card` says what happened.
"""
