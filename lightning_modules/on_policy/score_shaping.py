"""From the sources' scores of an iteration's responses to the scores that are learned from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlhf.config import OnPolicyConfig, ScoringConfig
from rlhf.errors import TrainingError
from rlhf.objectives.shaping import RunningMoments, distances, length_penalty, repeated_share, shape_scores
from rlhf.rewards.sources import Rewards
from rlhf.rollout.episodes import Episodes


class ScoreShaping:
    """The section `reward`, with `algo.score_clip` and `algo.missing_eos_penalty`.

    In this order: the weighted sum of the sources, its normalisation, clipping, and then what is added whatever was
    scored: the penalty for a missing end-of-text, for length and for repetition, and the bonus for diversity.

    Args:
        rewards: the sources.
    """

    def __init__(self, algo: OnPolicyConfig, scoring: ScoringConfig, rewards: Rewards) -> None:
        self.algo, self.scoring, self.rewards = algo, scoring, rewards
        self.moments = RunningMoments()

    def finish(self, episodes: Episodes, all_reduce: Callable[[Tensor], Tensor], *, learns: bool) -> None:
        """Fill `scores`, `shaped_scores` and `components`, where the models' parts stand already.

        All ranks call it together.

        Args:
            learns: whether these are episodes to learn from, which the running statistics take in.

        Raises:
            TrainingError: a judge had no opinion on any response.
        """
        parts = episodes.components
        for name, said in self.rewards.of_rows(episodes.rows).items():
            parts[name] = said.to(episodes.mask.device)
            self._fill(episodes, name, all_reduce)
        episodes.scores = self.rewards.total(parts)
        scores = episodes.scores
        if self.scoring.normalise != "none":
            if learns:
                self.moments.update(scores, all_reduce)
            scores = self.moments.apply(scores, self.scoring.normalise)
        shaped = shape_scores(
            scores, episodes.finished, missing_eos_penalty=self.algo.missing_eos_penalty, clip=self.algo.score_clip
        )
        for name, term in self._terms(episodes).items():
            parts[name] = term.to(shaped.device)
            shaped = shaped + parts[name]
        episodes.shaped_scores = shaped
        if self.rewards.is_plain:
            del parts[self.rewards.names[0]]  # `objective/score` is it

    def _terms(self, episodes: Episodes) -> dict[str, Tensor]:
        """What shaping adds, by name, [E] each; only what is switched on."""
        scoring, found = self.scoring, dict[str, Tensor]()
        if scoring.length_penalty:
            found["length"] = length_penalty(episodes.mask.sum(-1), scoring.length_penalty, scoring.length_target)
        if not (scoring.repetition_penalty or scoring.diversity_bonus):
            return found
        ended = iter(episodes.finished.tolist())
        texts = [[tokens[:-1] if next(ended) else tokens for tokens in row.responses] for row in episodes.rows]
        if scoring.repetition_penalty:
            shares = [repeated_share(tokens, scoring.ngram) for group in texts for tokens in group]
            found["repetition"] = -scoring.repetition_penalty * torch.tensor(shares)
        if scoring.diversity_bonus:
            apart = [distance for group in texts for distance in distances(group, scoring.ngram)]
            found["diversity"] = scoring.diversity_bonus * torch.tensor(apart)
        return found

    def _fill(self, episodes: Episodes, name: str, all_reduce: Callable[[Tensor], Tensor]) -> None:
        """Where a source has no opinion, the mean of its others over all ranks: neither praise nor blame."""
        said = episodes.components[name]
        missing = said.isnan()
        known, total, lost = all_reduce(
            torch.stack([(~missing).sum(), said.nan_to_num(0.0).sum(), missing.sum()]).double().cpu()
        ).tolist()
        if not lost:
            return
        if not known:
            raise TrainingError(f"reward.sources: {name} gave none of {lost:.0f} responses a score that can be read")
        episodes.components[name] = torch.where(missing, torch.full_like(said, total / known), said)
        episodes.components[f"{name}_missing"] = missing.float()

    def state_dict(self) -> dict[str, float]:
        return self.moments.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.moments.load_state_dict(state)
