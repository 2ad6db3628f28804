#!/usr/bin/env bash
# Makes the environments that the peers run in: benchmarks/envs.sh FOLDER [NAME ...]
#   trl       TRL 1.16: SFT, reward model, DPO
#   trl-ppo   TRL 1.9.2, the last release with a PPO trainer
# PYTHON chooses the interpreter. On a machine without a GPU set PIP_EXTRA_INDEX_URL to the index of torch's CPU wheels
# (https://download.pytorch.org/whl/cpu), or pip fetches gigabytes of CUDA.
set -euo pipefail

folder=${1:?usage: benchmarks/envs.sh FOLDER [NAME ...]}
shift
[ $# -gt 0 ] || set -- trl trl-ppo

for name in "$@"; do
  case $name in
    trl) packages=('trl==1.16.*') ;;
    trl-ppo) packages=('trl==1.9.2') ;;
    *) echo "$name: not one of trl, trl-ppo" >&2; exit 2 ;;
  esac
  "${PYTHON:-python3}" -m venv "$folder/$name"
  # The same torch as ours, so that kernels are not what differs.
  "$folder/$name/bin/pip" install --quiet --disable-pip-version-check 'torch>=2.13,<2.14' "${packages[@]}"
  echo "$folder/$name/bin/python"
done
