#!/usr/bin/env bash
# The frontier of docs/results.md: PPO over four kl_coef, DPO over four beta, three seeds each, and best-of-n in one
# report, and a run that is over-optimised in another. Takes about an hour on two cores; what is finished is not done
# again. The pictures of the page are frontier-gold.png, over-score-0.png and over-gold-0.png in report_files.
#
#   benchmarks/frontier.sh FOLDER [OVERRIDE …]     # overrides go to all trainings, such as train.max_steps=4 for a trial
set -euo pipefail
lab=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1" && cd "$1"
shift

python "$lab/pipeline.py" logger=csv
sft=$(ls -d outputs/sft/*/*)
reward=$(ls -d outputs/reward/*/*)
preferences=$(ls outputs/collect/*/*/preferences.jsonl)
# As the pipeline splits them, so that no prompt of the evaluation is trained on.
data=(data=jsonl data.name=preferences "data.path=$preferences" data.seed=1 data.val_fraction=0.1 data.test_fraction=0.12)
common=(logger=csv "model.init=$sft" resume=true "$@")

python "$lab/train.py" -m experiment=kl-sweep "algo.reward_model=$reward" train.val_every=10 "${common[@]}" \
  hydra/launcher=joblib hydra.sweep.dir=outputs/frontier/ppo
python "$lab/train.py" -m experiment=beta-sweep algo.beta=0.1,0.3,0.8,2 "${data[@]}" train.val_every=50 "${common[@]}" \
  hydra/launcher=joblib hydra.sweep.dir=outputs/frontier/dpo
# A reward model after one of its six epochs, and nothing that holds the policy back.
python "$lab/train.py" algo=reward "${data[@]}" train.max_steps=400 "${common[@]}" hydra.run.dir=outputs/weak
python "$lab/train.py" algo=ppo algo.reward_model=outputs/weak algo.kl_coef=0 algo.lr=3e-4 train.max_steps=80 \
  train.val_every=5 train.samples=256 "${common[@]}" hydra.run.dir=outputs/over

dpo() { ls -d "outputs/frontier/dpo/$1"-*; }
python "$lab/evaluate.py" "models.sft=$sft" "+models.dpo_01=$(dpo 0)" "+models.dpo_03=$(dpo 3)" "+models.dpo_08=$(dpo 6)" \
  "+models.dpo_2=$(dpo 9)" "evaluation.reward_model=$reward" evaluation.best_of=16 resume=true \
  hydra.run.dir=outputs/frontier/evaluation
python "$lab/report.py" path=outputs/frontier png=true
python "$lab/report.py" path=outputs/over png=true
