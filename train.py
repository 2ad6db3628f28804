"""Train one stage: `python train.py algo=dpo model=gpt2`; `python train.py --help` shows what can be chosen."""

from launch.programs import train

if __name__ == "__main__":
    train()
