"""Who says how good an answer is: reward models, language models, the embedded task."""
