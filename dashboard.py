"""Dashboards in Weights & Biases: `python dashboard.py` makes or updates a workspace and a report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rlhf.config import LoggerConfig
from rlhf.errors import UserError
from rlhf.plain_text import one_line


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code: 2 for what the user can mend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", default=LoggerConfig().project, help="as logger.project (default: %(default)s)")
    parser.add_argument("--entity", help="as logger.entity (default: of the account whose key is set)")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where files go (default: %(default)s)")
    parser.add_argument("--offline", action="store_true", help="write what would be sent, and send nothing")
    given = parser.parse_args(argv)
    # Here, since it imports Lightning, and --help should not wait for that.
    from launch.dashboard import Place, publish

    try:
        found = publish(Place(given.project, given.entity), given.outputs, given.offline)
    except UserError as error:
        print(one_line(error), file=sys.stderr)
        return 2
    online = found[0].startswith("http")
    print("made or updated:" if online else "no connection to W&B, or none wanted; what would be sent:")
    print("\n".join(f"  {item}" for item in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
