"""What a module is built from, with weights: loaded from a run's parents."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_modules.base import StageModule
from lightning_modules.preference.reference import Reference, key_of
from rlhf.config import OnPolicyConfig, TrainConfig
from rlhf.data.dataset import load
from rlhf.data.rows import Row, make_rows
from rlhf.data.stream import OptimisationBatches
from rlhf.data.templates.template import Template
from rlhf.models.adapters import has_adapter, load_adapter, share
from rlhf.models.files.loading import load_policy, load_scorer, scorer_on
from rlhf.models.language import LanguageModel, ScoreModel, freeze, halve
from rlhf.models.process_scorer import as_trained, forget_steps
from rlhf.rewards.sources import Rewards
from rlhf.rollout.engines import build_sampler
from rlhf.rollout.sampling import Sampler
from rlhf.runs import Parent, Run
from rlhf.runs.resolve import OTHER_REFERENCE, REWARD_MODEL, is_reward_model_key
from verbs.train.adapters import adapt, adapter_of, check_same_tokenizer
from verbs.train.process_models import check_steps
from verbs.train.text_sources import text_sources
from verbs.train.trainer import accelerator_of

log = logging.getLogger("rlhf")


class LoadedParts:
    """See `lightning_modules.parts.Parts`.

    With adapters there is one backbone for policy and reference, unless `algo.reference_model` names another one. The
    reward model joins it if it was trained as an adapter on the same weights; else it brings its own. The critic is an
    adapter on the backbone of the reward model.

    Args:
        asked: rows whose reference log-probabilities will be needed, by split.
    """

    def __init__(
        self, config: TrainConfig, run: Run, template: Template, total_steps: int, asked: Mapping[str, Sequence[Row]]
    ) -> None:
        self.config, self.run, self.template, self.asked = config, run, template, asked
        self.total_steps = total_steps
        self._policy: LanguageModel | None = None

    @property
    def _lora(self) -> bool:
        return self.config.model.adapter == "lora"

    def policy(self, *, value_head: bool = False) -> LanguageModel:
        if self._policy is None:
            self._policy = load_policy(
                self.run.parents["model.init"].source,
                dict(self.config.model.architecture),
                self.template.tokenizer,
                seed=self.config.seed,
                value_head=value_head,
                quantize=self.config.model.quantize,
            )
        return self._policy

    def scorer(self) -> ScoreModel:
        found = load_scorer(
            self.run.parents["model.init"].source,
            dict(self.config.model.architecture),
            self.template.tokenizer,
            seed=self.config.seed,
            quantize=self.config.model.quantize,
            end_id=self.template.end_id,
        )
        forget_steps(found)
        return found

    def reference(self) -> LanguageModel:
        parent = self.run.parents.get(OTHER_REFERENCE)
        if parent is not None:
            assert parent.source is not None
            tokenizer = self.template.tokenizer
            check_same_tokenizer(OTHER_REFERENCE, Path(parent.source), tokenizer)
            return load_policy(parent.source, {}, tokenizer, seed=0, quantize=self.config.model.quantize)
        hf = self.policy().hf
        return LanguageModel(share(hf) if self._lora else copy.deepcopy(hf))

    def reference_logprobs(self, *, per_token: bool = False) -> Reference:
        other, device = self.run.parents.get(OTHER_REFERENCE), accelerator_of(self.config.strategy)[0]
        asked = other or self.run.parents["model.init"]
        key = key_of(asked.sha256, asked.source, self.asked, self.config, device, per_token)
        load = None if other is None else self.reference
        return Reference(self.asked, key, self.run.checkpoints / "reference.safetensors", per_token, load)

    def reward(self) -> Rewards:
        return self._rewards

    @cached_property
    def _rewards(self) -> Rewards:
        scoring = self.config.reward
        # Texts first: a function that can't be called stops the run before models are loaded.
        texts = text_sources(scoring, list(self.config.data.fields))
        models = [self._scorer(parent) for name, parent in self.run.parents.items() if is_reward_model_key(name)]
        check_steps(scoring, models)
        return Rewards(
            models,
            texts,
            weights=scoring.weights,
            combine=scoring.combine,
            coef=scoring.combine_coef,
            text_of=self.template.parse,
            at_steps=scoring.step_rewards,
        )

    def _scorer(self, parent: Parent) -> ScoreModel:
        """A reward model, or its adapter on the policy's backbone."""
        assert parent.source is not None
        check_same_tokenizer(REWARD_MODEL, Path(parent.source), self.template.tokenizer)
        adapter = adapter_of(parent, self.run.parents["model.init"]) if self._lora else None
        if adapter is None:
            reward = load_scorer(parent.source, {}, self.template.tokenizer, seed=self.config.seed)
        else:
            log.info("reward model: the adapter %s, on the policy's backbone", adapter)
            reward = scorer_on(self.policy(), parent.source)
            load_adapter(reward.hf, adapter)
        return as_trained(reward, self.template.tokenizer, self.config.reward.step_combine or "min")

    def critic(self) -> ScoreModel:
        model = next(iter(self._rewards.modules().values()), None)
        if model is None:
            return self.scorer()
        assert isinstance(model, ScoreModel)
        return ScoreModel(share(model.hf) if self._lora else copy.deepcopy(model.hf))

    def sampler(self) -> Sampler:
        policy, rollout = self.policy(), self.config.rollout
        self._adapt(policy)
        return build_sampler(
            rollout.engine, policy, self.template.stop_ids, self.config.data.max_length, rollout.max_rows
        )

    def documents(self) -> Callable[[int], list[Row]] | None:
        """`train.batch_size` documents for each update."""
        algo, data = self.config.algo, self.config.data
        assert isinstance(algo, OnPolicyConfig)
        if algo.ptx_coef == 0:
            return None
        dataset = load(
            "documents",
            source="file" if algo.ptx_path else "assistant",
            path=algo.ptx_path,
            format="auto",
            on_error=data.on_error,  # type: ignore[arg-type]
            seed=data.seed,
            val_fraction=0.0,
            test_fraction=0.0,
        )
        rows, _ = make_rows(dataset.train, "documents", self.template, data.max_length, data.on_error)
        batches = OptimisationBatches(len(rows), self.config.train.batch_size, self.config.seed)
        return lambda update: [rows[i] for i in batches.batch(update)]

    def finish(self, module: StageModule) -> None:
        """Freeze what does not learn, then give what does its adapters, in place.

        Raises:
            ConfigError: `model.lora_targets` names a layer that isn't there.
        """
        for frozen in module.frozen().values():
            freeze(frozen)
            if isinstance(self.config.algo, OnPolicyConfig) and self.config.algo.frozen_dtype == "bf16":
                halve(frozen)  # type: ignore[arg-type]
        if self._lora and self.run.parents["model.init"].kind == "random":
            log.warning(
                "model.adapter=lora: the weights below the adapters are random and are not trained; train them first"
            )
        for trained in module.trained().values():
            self._adapt(trained)

    def _adapt(self, model: Any) -> None:
        """A critic that shares the reward model's adapter, or starts from a copy of it, has one already."""
        if not has_adapter(model):
            adapt(self.config, model.hf)
