#!/usr/bin/env bash
# See docs/gpu.md; --help lists the options.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
exec "$python" -m benchmarks.gpu.check "$@"
