"""Self-Instruct (Wang et al. 2023): new instructions after examples of old and new ones, and answers to them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rlhf.data.preparation.synthetic.instructions import Rules, instructions_in, one_line
from rlhf.data.preparation.synthetic.responses import request
from rlhf.data.preparation.synthetic.rouge import Pool
from rlhf.data.preparation.synthetic.steps import Asked, Bound, Made, Messages, Work, draw, marked
from rlhf.data.preparation.words import words_of
from rlhf.data.records import Demonstration, Prompt
from rlhf.errors import DataError
from rlhf.storage.prompt_files import filled

FILE, PLACES, OPTIONAL = "instructions.txt", ("count", "examples"), ("shown", "first", "last")
INSTRUCTIONS, RESPONSES = "instructions", "responses"


@dataclass(frozen=True)
class Instruction:
    """An instruction and its name in records: where it was read, or which of the new ones it is."""

    name: str
    text: str
    examples: tuple[str, ...] = ()


def seeds_of(prompts: Iterable[Prompt], max_words: int) -> list[Instruction]:
    """Seed instructions: single questions, each once, none longer than what is asked for."""
    found: dict[str, Instruction] = {}
    for prompt in prompts:
        single = len(prompt.turns) == 1 and prompt.turns[0][0] == "user"
        text = one_line(prompt.text)
        if single and text not in found and len(words_of(text)) <= max_words:
            found[text] = Instruction(prompt.place, text)
    return list(found.values())


@dataclass(frozen=True)
class SelfInstruct:
    """New instructions until `count` are kept, and an answer to each.

    Every request shows `seed_examples` of the seeds and `generated_examples` of the model's own that are kept by then;
    as long as there are fewer, seeds stand in for them. What it shows is drawn by (seed, number of the request).

    Attributes:
        text: of the prompt for instructions. model: its name, for records.
        per_request: instructions that a request asks for. requests: at most. per_round: requests that draw from the
            same instructions.
        novelty: ROUGE-L from which an instruction is too similar to a seed or to a kept one.
    """

    seeds: list[Instruction]
    text: str
    model: str
    count: int
    rules: Rules
    seed_examples: int = 6
    generated_examples: int = 2
    per_request: int = 8
    requests: int = 100
    per_round: int = 8
    novelty: float = 0.7
    system: str | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.seeds:
            raise DataError(
                "synthetic.path: holds no seed instruction: a single question of at most synthetic.max_words words"
            )

    @property
    def prompts(self) -> Mapping[str, str]:
        """Texts of its prompts."""
        return {FILE: self.text, **({"system": self.system} if self.system else {})}

    @property
    def bounds(self) -> list[Bound]:
        """Requests with the longest seeds; and for each instruction that can be kept a question, which is a reply."""
        longest = sorted(self.seeds, key=lambda seed: -len(seed.text.encode()))
        shown = longest[: self.seed_examples + self.generated_examples]
        request_ = self.asking(shown)
        return [
            Bound(INSTRUCTIONS, [request_] * self.requests, self.generated_examples),
            Bound(RESPONSES, [request(Prompt.of("?"), self.system)] * self.count, 1),
        ]

    def shown(self, number: int, kept: list[Instruction]) -> list[Instruction]:
        """The examples of a request, in the order in which it shows them."""
        random = draw(self.seed, number)
        own = min(self.generated_examples, len(kept))
        theirs = min(self.seed_examples + self.generated_examples - own, len(self.seeds))
        found = [self.seeds[i] for i in random.permutation(len(self.seeds))[:theirs].tolist()]
        found += [kept[i] for i in random.permutation(len(kept))[:own].tolist()]
        return [found[i] for i in random.permutation(len(found)).tolist()]

    def asking(self, shown: list[Instruction]) -> Messages:
        """The request for new instructions."""
        examples = "\n".join(f"{number}. {one.text}" for number, one in enumerate(shown, 1))
        first = len(shown) + 1
        numbers = {"shown": len(shown), "count": self.per_request, "first": first, "last": first + self.per_request - 1}
        said = filled(self.text, examples=examples, **{name: str(number) for name, number in numbers.items()})
        return [{"role": "user", "content": said}]

    def run(self) -> Work:
        """Rounds of instructions and their answers."""
        made, asked = Made(), 0
        kept: list[Instruction] = []
        made.counts = {INSTRUCTIONS: {"requests": 0, "found": 0, "kept": 0}, RESPONSES: {"requests": 0, "records": 0}}
        pool = Pool(self.novelty)
        for seed in self.seeds:
            pool.add(words_of(seed.text))
        while len(kept) < self.count and asked < self.requests:
            missing = math.ceil((self.count - len(kept)) / self.per_request)
            shown = [self.shown(asked + n, kept) for n in range(min(missing, self.per_round, self.requests - asked))]
            asked += len(shown)
            replies = yield Asked(INSTRUCTIONS, [self.asking(examples) for examples in shown])
            before = len(kept)
            for examples, reply in zip(shown, replies, strict=True):
                text = made.usable(INSTRUCTIONS, reply, whole=False)
                names = tuple(example.name for example in examples)
                for found in instructions_in(text, reply.cut) if text is not None else []:
                    self._take(found, names, kept, pool, made)
            new = kept[before:]
            answers = yield Asked(RESPONSES, [request(Prompt.of(one.text), self.system) for one in new])
            for instruction, reply in zip(new, answers, strict=True):
                if (answer := made.answer(RESPONSES, reply)) is not None:
                    made.count(RESPONSES, "records")
                    made.records.append(self._record(instruction, answer))
        return made

    def _take(self, text: str, examples: tuple[str, ...], kept: list[Instruction], pool: Pool, made: Made) -> None:
        """Keep an instruction, or count why not."""
        made.count(INSTRUCTIONS, "found")
        words = words_of(text)
        reason = self.rules.fault(text)
        if reason is None and pool.similar(words) is not None:
            reason = "similar"
        if reason is None and len(kept) == self.count:
            reason = "surplus"
        if reason is not None:
            made.count(INSTRUCTIONS, reason)
            return
        made.count(INSTRUCTIONS, "kept")
        pool.add(words)
        kept.append(Instruction(f"generated:{len(kept) + 1}", text, examples))

    def _record(self, instruction: Instruction, answer: str) -> Demonstration:
        facts = {"method": "self_instruct", "model": self.model, "id": instruction.name}
        prompt = marked(Prompt.of(instruction.text), self.prompts, seeds=list(instruction.examples), **facts)
        return Demonstration(prompt, answer)
