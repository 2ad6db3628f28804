"""Plan a run: `python plan.py` with what `train.py` would be given; `python plan.py --help` shows the choices."""

from launch.programs import plan

if __name__ == "__main__":
    plan()
