"""SimPO (Meng et al. 2024): the reward is the log-probability per token."""

from __future__ import annotations

from lightning_modules.preference.reference_free import ReferenceFreeModule
from rlhf.config.algorithms.simpo import SimPOConfig
from rlhf.objectives.preference.reference_free import PairLosses, Responses, simpo


class SimPOModule(ReferenceFreeModule):
    """SimPO's loss of each pair."""

    def pair_losses(self, chosen: Responses, rejected: Responses) -> PairLosses:
        algo = self.config.algo
        assert isinstance(algo, SimPOConfig)
        return simpo(
            chosen,
            rejected,
            beta=algo.beta,
            target_margin=algo.target_margin,
            label_smoothing=algo.label_smoothing,
            sft_coef=algo.sft_coef,
        )
