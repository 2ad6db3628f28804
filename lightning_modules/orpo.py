"""ORPO (Hong et al. 2024): supervised fine-tuning and a preference in one loss, by odds."""

from __future__ import annotations

from lightning_modules.preference.reference_free import ReferenceFreeModule
from rlhf.config.algorithms.orpo import ORPOConfig
from rlhf.objectives.preference.reference_free import PairLosses, Responses, orpo


class ORPOModule(ReferenceFreeModule):
    """ORPO's loss of each pair."""

    def pair_losses(self, chosen: Responses, rejected: Responses) -> PairLosses:
        assert isinstance(self.config.algo, ORPOConfig)
        return orpo(chosen, rejected, odds_coef=self.config.algo.odds_coef)
