"""Pure functions of tensors, torch alone: language-model loss, preference losses, KL, PPO.

Losses come back per token or per pair, unreduced: denominators are global over an optimisation batch and over ranks, so
only the caller knows them. Inputs are never changed in place, and are computed with in fp32 or better.

Shapes: E episodes of at most L response tokens, P pairs, N selected tokens, V entries of a vocabulary. Units: log-
probabilities, KL and entropy are in nats.
"""
