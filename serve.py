"""Serve a finished model: `python serve.py model.init=RUN`; `python serve.py --help` shows what can be chosen."""

from launch.programs import serve

if __name__ == "__main__":
    serve()
