#!/bin/sh
# Label Studio in an environment of its own, and the tests against it: tests/integration/label_studio.sh FOLDER
# The server runs on 127.0.0.1 with SQLite in a temporary folder. The tests run in the environment of `python`.
set -eu
folder=${1:?a folder for the environment}
[ -x "$folder/bin/label-studio" ] || {
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet label-studio==1.23.2
}
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/../.."
LABEL_STUDIO=$folder/bin/label-studio exec python -m pytest -n 0 -q tests/integration/test_label_studio.py
