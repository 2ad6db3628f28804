"""A conversation with a policy: each turn answers all that was said before, and is shown while it is being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rlhf.data.records import Prompt
from rlhf.data.rows import Row
from rlhf.data.templates.template import Template
from rlhf.rollout.growing_text import text_of
from rlhf.rollout.sampling import Request, Sampling
from rlhf.rollout.torch_sampler import TorchSampler
from rlhf.rollout.uniforms import EVALUATE


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        text: what was shown, and what later turns see as said.
        prompt: the conversation that it answers.
        row: the tokens of the prompt and the answer, for a reward model.
        cut: tokens that the conversation lost at its front, so that an answer fits behind it.
        finished: end-of-text was reached.
        interrupted: Ctrl-C came first.
    """

    text: str
    prompt: Prompt
    row: Row
    cut: int
    finished: bool
    interrupted: bool


class Conversation:
    """Turns that take each other into account.

    The n-th answer since the seed was set draws with iteration n, so that a question asked twice is answered twice,
    and the same seed and questions make the same conversation.

    Args:
        limit: tokens that a prompt may have.
        system: a system message, for templates that have a place for one.

    Raises:
        DataError: the template refuses a system message.
    """

    def __init__(
        self,
        sampler: TorchSampler,
        template: Template,
        limit: int,
        sampling: Sampling,
        seed: int,
        system: str | None = None,
    ) -> None:
        self.sampler, self.template, self.limit, self.sampling = sampler, template, limit, sampling
        self._opening = (("system", system),) if system else ()
        template.text(Prompt((*self._opening, ("user", "?"))))
        self.reset()
        self.reseed(seed)

    def reset(self) -> None:
        """Forget the conversation; the next answer is drawn with new randomness all the same."""
        self.turns: tuple[tuple[str, str], ...] = self._opening

    def reseed(self, seed: int) -> None:
        """Draw the next answers from another seed, or from the start of the same."""
        self.seed, self._answers = seed, 0

    def reply(self, question: str, show: Callable[[str], None]) -> Reply:
        """Answer, and hand the text to `show` piece by piece.

        An interrupted answer stays in the conversation as far as it was shown; a question that nothing was answered
        to is taken out again, since templates want the turns to alternate.

        Raises:
            PromptTooLong: the question doesn't fit, even cut.
        """
        turns = (*self.turns, ("user", question))
        prompt = self.template.prompt(Prompt(turns), self.limit)
        drawn: list[int] = []
        shown: list[str] = []
        interrupted = False

        def tokens() -> Iterator[int]:
            request = Request(0, prompt.ids)
            for token in self.sampler.stream(
                request, self.sampling, seed=self.seed, iteration=self._answers, stream=EVALUATE
            ):
                drawn.append(token)
                yield token

        try:
            for piece in text_of(tokens(), self.template):
                shown.append(piece)
                show(piece)
        except KeyboardInterrupt:
            interrupted = True
        self._answers += 1
        text = "".join(shown)
        if text.strip():
            self.turns = (*turns, ("assistant", text))
        finished = self.template.ended(drawn)
        return Reply(text, Prompt(turns), Row(prompt.ids, (tuple(drawn),)), prompt.cut, finished, interrupted)
