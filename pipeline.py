"""All stages, one after another: `python pipeline.py`; `python pipeline.py --help` shows what can be chosen."""

from launch.programs import pipeline

if __name__ == "__main__":
    pipeline()
