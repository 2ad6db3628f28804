"""measure.sh: how fast is it on this card, beside TRL and transformers? At most eight minutes."""

from __future__ import annotations

import sys

from benchmarks.gpu.parts import Part
from benchmarks.gpu.runner import main

MEASURES = "benchmarks.gpu.measures"
PARTS = [
    Part("peaks", f"{MEASURES}.peaks:measure", 30),
    Part("dpo-losses", f"{MEASURES}.trainers:dpo_losses", 90),
    Part("dpo-gpt2", f"{MEASURES}.trainers:dpo_gpt2", 90),
    Part("dpo-0.5B", f"{MEASURES}.trainers:dpo_half", 100),
    Part("ppo-gpt2", f"{MEASURES}.ppo:beside_trl", 120),
    Part("decoding-gpt2", f"{MEASURES}.decoding:gpt2", 45),
    Part("sft-gpt2", f"{MEASURES}.trainers:sft_gpt2", 60),
    Part("reward-gpt2", f"{MEASURES}.trainers:reward_gpt2", 60),
    Part("decoding-0.5B", f"{MEASURES}.decoding:half", 60),
    Part("dpo-1.5B", f"{MEASURES}.trainers:dpo_large", 120),
    Part("sft-0.5B", f"{MEASURES}.trainers:sft_half", 90),
    Part("decoding-1.5B", f"{MEASURES}.decoding:large", 75),
]

if __name__ == "__main__":
    sys.exit(main("measure", __doc__ or "", PARTS, deadline=480))
