"""CPO (Xu et al. 2024): DPO against a uniform reference, and cross-entropy of the chosen response."""

from __future__ import annotations

from lightning_modules.preference.reference_free import ReferenceFreeModule
from rlhf.config.algorithms.cpo import CPOConfig
from rlhf.objectives.preference.reference_free import PairLosses, Responses, cpo


class CPOModule(ReferenceFreeModule):
    """CPO's loss of each pair."""

    def pair_losses(self, chosen: Responses, rejected: Responses) -> PairLosses:
        algo = self.config.algo
        assert isinstance(algo, CPOConfig)
        return cpo(chosen, rejected, beta=algo.beta, label_smoothing=algo.label_smoothing, sft_coef=algo.sft_coef)
