"""Compare models: `python evaluate.py models.sft=RUN models.ppo=RUN`; `python evaluate.py --help` shows the choices."""

from launch.programs import evaluate

if __name__ == "__main__":
    evaluate()
