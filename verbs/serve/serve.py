"""The verb: load a model, and answer requests until Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping

import torch

from rlhf.config import Config, ServeConfig
from rlhf.config.address import TOKEN
from rlhf.errors import ConfigError
from rlhf.models.language import count_parameters
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.runs import Parent, Summary
from verbs.finished_model import Lengths, Loaded, lengths_of, load_model
from verbs.serve.app import Served, build_app
from verbs.serve.batches import Batches
from verbs.web.listening import address_of, listen, serve

ANY = 2**31
"""More than any context: the model's own is what counts."""

log = logging.getLogger("rlhf")


def run_serve(config: Config, parents: Mapping[str, Parent]) -> None:
    """Serve a model until Ctrl-C.

    Raises:
        UserError: it can't be loaded, or the address can't be had.
    """
    assert isinstance(config, ServeConfig)
    at = listen(config.host, config.port)
    try:
        served = load_served(config, parents["model.init"])
        app = build_app(served, config.host, token := os.environ.get(TOKEN, ""))
        log.info("%s/v1 serves %s; Ctrl-C ends", address_of(at), served.name)
        if token:
            log.info("clients send the value of %s as their API key", TOKEN)
        try:
            serve(app, at, served.batches.end)
        except KeyboardInterrupt:
            pass  # the usual end
        finally:
            served.batches.end()
            told = served.batches
            log.info("%d requests, %d tokens read, %d written", told.answered, told.read, told.written)
    finally:
        at.close()


def load_served(config: ServeConfig, parent: Parent) -> Served:
    """The model, and the queue in front of it.

    Raises:
        UserError: see `load_model`.
    """
    log.info("loading")
    if config.strategy.threads is not None:
        torch.set_num_threads(config.strategy.threads)
    log.info("%s", parent.reason)
    trained = lengths_of(parent)
    # A run was trained with shorter texts than its model can read; who asks decides how long they are.
    lengths = Lengths(config.max_length or ANY, trained.response)
    loaded = load_model(parent, config.strategy, config.rollout.max_new_tokens, lengths)
    if config.max_length is not None and loaded.max_length < config.max_length:
        raise ConfigError(f"max_length: {config.max_length}, and the model reads {loaded.max_length} tokens at most")
    log.info("policy: %.1fM parameters, %d tokens", count_parameters(loaded.policy) / 1e6, loaded.max_length)
    sampler = TorchSampler(loaded.policy, loaded.template.stop_ids, config.rollout.max_rows)
    batches = Batches(sampler, config.seed, config.strategy.threads)
    return Served(name_of(config, parent, loaded), loaded, batches, config.rollout)


def name_of(config: ServeConfig, parent: Parent, loaded: Loaded) -> str:
    """What clients call the model: what it is, and eight hex digits of everything but the request that its answers
    depend on. A judge's answers are cached by this name, and another model's must not be taken for them."""
    rollout = config.rollout
    depends = [
        parent.identity,
        loaded.template.fingerprint,
        loaded.max_length,
        loaded.max_new_tokens,
        config.strategy.precision,
        [rollout.temperature, rollout.top_k, rollout.top_p, config.seed],
    ]
    digits = hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:8]
    words = [parent.dir.name] if parent.dir is not None else []
    if parent.kind == "run" and parent.dir is not None:
        summary = Summary.read(parent.dir)
        words = [summary.algo, summary.model]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join([*filter(None, words), digits]))
