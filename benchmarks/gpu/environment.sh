# Sourced by the three scripts: wheels of the pack where this Python lacks them, then the lab itself on the path.
# RLHF_GPU_HOME keeps what was unpacked between two calls.
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${RLHF_GPU_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/rlhf-gpu}
python=${PYTHON:-python3}
unpack() { # FOLDER-OF-WHEELS TARGET
  if [ -d "$1" ] && [ ! -e "$2/.whole" ]; then
    mkdir -p "$2"
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$2" "$1"/*.whl
    touch "$2/.whole"
  fi
}
if ! "$python" -c 'import hydra, omegaconf, trl' 2>/dev/null; then
  unpack "$lab/.gpu/base/wheels" "$home/site"
  [ -d "$home/site" ] && export PYTHONPATH="$home/site${PYTHONPATH:+:$PYTHONPATH}"
fi
unpack "$lab/.gpu/base/wheels-ppo" "$home/site-ppo"
[ -d "$home/site-ppo" ] && export RLHF_GPU_TRL_PPO="$home/site-ppo"
export PYTHONPATH="$lab${PYTHONPATH:+:$PYTHONPATH}" RLHF_GPU_MODELS="${RLHF_GPU_MODELS:-$home/models}" PYTHONUNBUFFERED=1
