#!/usr/bin/env bash
# Collects what a machine without a network needs; see docs/gpu.md and --help.
set -euo pipefail
lab=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH="$lab${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python3}" -m benchmarks.gpu.pack "$@"
