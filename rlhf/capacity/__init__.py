"""What a run will need, before it runs: memory by tracing a step without numbers, and arithmetic by formula."""
