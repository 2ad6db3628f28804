# Sourced by the three scripts: what pack.sh brought, unpacked once, and the lab itself on the path.
# RLHF_GPU_HOME keeps what was unpacked between two calls; pieces of a file may arrive in several.
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${RLHF_GPU_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/rlhf-gpu}
python=${PYTHON:-python3}
mkdir -p "$home/models" "$home/pieces"

wheels() { # FOLDER TARGET
  if [ -d "$1" ] && [ ! -e "$2/.whole" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$2" "$1"/*.whl
    touch "$2/.whole"
  fi
}

if ! "$python" -c 'import hydra, omegaconf, trl' 2>/dev/null; then
  wheels "$lab/.gpu/base/wheels" "$home/site"
  if [ -d "$home/site" ]; then PYTHONPATH="$home/site${PYTHONPATH:+:$PYTHONPATH}"; fi
fi
wheels "$lab/.gpu/base/wheels-ppo" "$home/site-ppo"
if ! "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("bitsandbytes") is None)'; then
  if [ -e "$lab/.gpu/base/bitsandbytes.zip" ] && [ ! -d "$home/bitsandbytes" ]; then
    "$python" -m zipfile -e "$lab/.gpu/base/bitsandbytes.zip" "$home/bitsandbytes"
  fi
  if [ -d "$home/bitsandbytes" ]; then PYTHONPATH="$home/bitsandbytes${PYTHONPATH:+:$PYTHONPATH}"; fi
fi

for piece in "$lab"/.gpu/smollm2-*/*-of-*; do
  if [ -e "$piece" ] && [ ! -e "$home/models/smollm2.gguf" ]; then cp -n "$piece" "$home/pieces/"; fi
done
pieces=("$home"/pieces/*-of-*)
if [ -e "${pieces[0]}" ] && [ "${#pieces[@]}" = "${pieces[0]##*-of-}" ]; then
  cat "${pieces[@]}" >"$home/models/.part" && mv "$home/models/.part" "$home/models/smollm2.gguf" && rm "${pieces[@]}"
fi

export PYTHONPATH="$lab${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export RLHF_GPU_MODELS="${RLHF_GPU_MODELS:-$home/models}" RLHF_GPU_TRL_PPO="${RLHF_GPU_TRL_PPO:-$home/site-ppo}"
