"""Talk to a finished model: `python chat.py model.init=RUN`; `python chat.py --help` shows what can be chosen."""

from launch.programs import chat

if __name__ == "__main__":
    chat()
