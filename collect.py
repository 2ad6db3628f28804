"""Collect preferences: `python collect.py model.init=RUN`; `python collect.py --help` shows what can be chosen."""

from launch.programs import collect

if __name__ == "__main__":
    collect()
