"""Prepare data: `python prepare.py data.path=FILE`; `python prepare.py --help` shows what can be chosen."""

from launch.programs import prepare

if __name__ == "__main__":
    prepare()
