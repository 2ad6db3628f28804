"""Dashboards in Weights & Biases: `python dashboard.py` makes or updates a workspace and a report."""

import sys

from launch.programs import dashboard

if __name__ == "__main__":
    sys.exit(dashboard())
