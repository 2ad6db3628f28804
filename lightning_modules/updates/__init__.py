"""One optimiser update, for every stage: micro-batches, sums, guards, schedule, and what is saved of it."""
