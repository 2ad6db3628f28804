"""Judge answers by hand: `python label.py path=FILE`; `python label.py --help` shows what can be chosen."""

from launch.programs import label

if __name__ == "__main__":
    label()
