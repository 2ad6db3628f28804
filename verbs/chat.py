"""A conversation at the terminal, or with a pipe: each line is a turn or a command."""

from __future__ import annotations

import io
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

import torch
from rich.console import Console

from rlhf.config import ChatConfig, Config, keys
from rlhf.config.reference import type_name
from rlhf.data.batch import collate
from rlhf.errors import ConfigError, DataError, UserError, nearest
from rlhf.evaluation.judges.reward_models import same_tokens
from rlhf.evaluation.judges.scorers import RewardJudge
from rlhf.models.language import count_parameters
from rlhf.plain_text import printable
from rlhf.rollout.conversation import Conversation, Reply
from rlhf.rollout.sampling import Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.runs import Parent
from rlhf.terminal import plain
from verbs.finished_model import load_model, load_reward_judge

PROMPT = "> "
COMMANDS = {
    "/reset": "forget the conversation",
    "/seed N": "draw from another seed; the same one again repeats its answers",
    "/temperature X": "0 always takes the likeliest token",
    "/help": "this list; a line that starts with a space is no command",
    "/quit": "leave, as Ctrl-D and Ctrl-C do; while an answer is written, Ctrl-C only ends the answer",
}
log = logging.getLogger("rlhf")


def converse(config: Config, parents: Mapping[str, Parent]) -> None:
    """Load the models, then talk until the user leaves.

    Raises:
        UserError: the models don't load, or their template has no place for the system message.
    """
    assert isinstance(config, ChatConfig)
    log.info("loading")
    if config.strategy.threads is not None:
        torch.set_num_threads(config.strategy.threads)
    for parent in parents.values():
        log.info("%s", parent.reason)
    rollout = config.rollout
    loaded = load_model(parents["model.init"], config.strategy, rollout.max_new_tokens)
    sampling = Sampling(loaded.max_new_tokens, rollout.temperature, rollout.top_k, rollout.top_p)
    scorer = None
    if "chat.reward_model" in parents:
        scorer = load_reward_judge(
            "chat.reward_model", parents["chat.reward_model"], config.strategy, loaded.max_length
        )
    try:
        conversation = Conversation(
            TorchSampler(loaded.policy, loaded.template.stop_ids),
            loaded.template,
            loaded.max_length - loaded.max_new_tokens,
            sampling,
            config.seed,
            config.chat.system if (config.chat.system or "").strip() else None,
        )
    except DataError as error:
        raise ConfigError(f"chat.system: {error}") from error
    log.info("policy: %.1fM parameters", count_parameters(loaded.policy) / 1e6)
    Talk(conversation, scorer).run()


class Talk:
    """What is typed and what is shown around the answers.

    Args:
        scorer: a reward model whose scores are shown beside the answers.
    """

    def __init__(self, conversation: Conversation, scorer: RewardJudge | None = None) -> None:
        self.conversation, self.scorer = conversation, scorer
        for stream in (sys.stdin, sys.stdout):
            # A byte that is no text, or a letter that the terminal lacks, is no reason to stop.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        self.console = Console(highlight=False)
        self.commands: dict[str, Callable[[str], None]] = {
            "/reset": self._reset,
            "/seed": self._seed,
            "/temperature": self._temperature,
            "/help": self._help,
        }

    def run(self) -> None:
        """Talk until the end of the input, or `/quit`."""
        sampling = self.conversation.sampling
        self.note(
            f"seed {self.conversation.seed}, temperature {sampling.temperature:g}, answers of at most "
            f"{sampling.max_new_tokens} tokens to the last {self.conversation.limit}; /help lists the commands"
        )
        for line in typed():
            name, _, value = line.partition(" ")
            if name == "/quit":
                return
            if line.startswith("/"):
                self._command(name, value.strip())
            elif line.strip():
                # The space in front of a line that is no command is not the user's.
                self._turn(line.removeprefix(" ") if line.startswith(" /") else line)

    def note(self, text: str) -> None:
        """A line outside of the conversation."""
        self.console.print(plain(text, "dim"), soft_wrap=True)

    def _command(self, name: str, value: str) -> None:
        if name in self.commands:
            try:
                self.commands[name](value)
            except ConfigError as error:
                self.note(str(error))
        else:
            self.note(f"{name}: no such command{nearest(name, [*self.commands, '/quit']) or '; /help lists them'}")

    def _turn(self, question: str) -> None:
        try:
            reply = self.conversation.reply(question, write)
        except UserError as error:
            self.note(str(error))
            return
        if reply.text.strip():
            print()
        # Ctrl-C may come while a large reward model reads.
        with suppress(KeyboardInterrupt):
            remarks = ", ".join(self._remarks(reply))
            if remarks:
                self.note(remarks)

    def _remarks(self, reply: Reply) -> Iterator[str]:
        """What there is to say of an answer beside it."""
        if reply.cut:
            yield f"the first {reply.cut} tokens of the conversation no longer fit"
        if reply.interrupted:
            yield "interrupted"
            return
        if not reply.finished:
            yield f"stopped at {len(reply.row.responses[0])} tokens"
        elif not reply.text.strip():
            yield "no answer"
        if self.scorer is not None:
            score = self._score(self.scorer, reply)
            yield "no score" if score is None else f"score {score:.2f}"

    def _score(self, judge: RewardJudge, reply: Reply) -> float | None:
        """Of the tokens that were drawn, where the reward model reads the same ones; else of the text."""
        if not same_tokens(judge, self.conversation.template):
            return judge.scores([reply.prompt], [reply.text])[0]
        with torch.no_grad():
            score = judge.model(collate([reply.row]).to(next(judge.model.parameters()).device)).item()
        return score if math.isfinite(score) else None

    def _reset(self, _: str) -> None:
        self.conversation.reset()
        self.note("a new conversation")

    def _seed(self, value: str) -> None:
        self.conversation.reseed(int(number("seed", value)))
        self.note(f"seed {self.conversation.seed}")

    def _temperature(self, value: str) -> None:
        temperature = number("rollout.temperature", value)
        self.conversation.sampling = replace(self.conversation.sampling, temperature=temperature)
        self.note(f"temperature {temperature:g}")

    def _help(self, _: str) -> None:
        for command, meaning in COMMANDS.items():
            self.note(f"{command:<16}{meaning}")


def number(name: str, text: str) -> float:
    """The value of a numeric key, typed where there is no Hydra to check it.

    Raises:
        ConfigError: not a number, or out of the key's range.
    """
    key = next(key for key in keys(ChatConfig) if key.name == name)
    try:
        value = float(int(text) if key.annotation is int else float(text))
    except ValueError:
        value = math.nan
    if not key.info.accepts(value):
        raise ConfigError(f"{name}: {text or 'nothing'} is not a {type_name(key.annotation)} {key.info.allowed}")
    return value


def typed() -> Iterator[str]:
    """The lines of the user. A pipe's are shown, so that its output reads like a terminal's."""
    terminal = sys.stdin.isatty()
    if terminal:
        with suppress(ImportError):
            import readline  # noqa: F401  (with it, `input` has a history and keys that edit the line)
    while True:
        try:
            line = input(PROMPT) if terminal else sys.stdin.readline()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not terminal:
            if not line:
                return
            print(PROMPT + printable(line.rstrip("\r\n")))
        yield line.rstrip("\r\n")


def write(piece: str) -> None:
    """Show a piece of an answer at once; a model can write any byte, and a terminal takes some for commands."""
    print(printable(piece), end="", flush=True)
