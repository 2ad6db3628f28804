"""How good a reward model is: accuracy, calibration, length bias, and the best of n samples that it picks."""
