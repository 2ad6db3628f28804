"""serve.py: a finished model behind an OpenAI-compatible chat-completions server."""
