"""`python rlhf_lab.py VERB …`, the command as a file: what other processes of a run and points of a sweep are started
by, in a clone and where the lab is installed. It stands alone in its folder, which Python puts in front of others."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from launch.programs import main  # noqa: E402

if __name__ == "__main__":
    main()
