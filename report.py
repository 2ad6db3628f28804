"""See what came out: `python report.py path=DIR`; `python report.py --help` shows what can be chosen."""

from launch.programs import report

if __name__ == "__main__":
    report()
