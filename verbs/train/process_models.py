"""What a run asks of process reward models, beside the models that were found."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf.config.scoring import ScoringConfig
from rlhf.errors import ConfigError
from rlhf.models.language import ScoreModel
from rlhf.models.process_scorer import is_process_model


def check_steps(scoring: ScoringConfig, models: Sequence[ScoreModel]) -> None:
    """Refuse keys that ask for steps where no model scores them, and ensembles of both kinds.

    Raises:
        ConfigError: in one sentence, which begins with the key.
    """
    known = [is_process_model(model) for model in models]
    if any(known) and not all(known):
        raise ConfigError(
            "algo.reward_model: some of the list are process reward models, whose scores are probabilities, and some "
            "are not; pass models of one kind"
        )
    for name, value in (("step_combine", scoring.step_combine), ("step_rewards", scoring.step_rewards or None)):
        if value is not None and not any(known):
            raise ConfigError(
                f"reward.{name}: {str(value).lower()} is for process reward models, and algo.reward_model names none; "
                "leave it out, or pass a finished run of algo=process-reward"
            )
