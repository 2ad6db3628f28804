"""Chat templates: what they write around an answer, within limits of work and size."""
