"""Merge finished models: `python merge.py models=[RUN,RUN]`; `python merge.py --help` shows what can be chosen."""

from launch.programs import merge

if __name__ == "__main__":
    merge()
