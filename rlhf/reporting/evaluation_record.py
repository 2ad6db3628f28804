"""The parts of `evaluation.json` and `answers.jsonl` that a report relies on, and their types."""

from __future__ import annotations

import logging
from typing import Any, NotRequired, TypedDict, get_type_hints

from rlhf.storage.reading import Unreadable
from rlhf.storage.shapes import fits

log = logging.getLogger("rlhf")


class Share(TypedDict):
    """A share with its interval."""

    rate: float
    low: float
    high: float
    sign_test: NotRequired[dict[str, Any] | None]


class Accuracy(TypedDict):
    accuracy: float
    low: float
    high: float
    n: NotRequired[int | None]


class LengthBias(TypedDict):
    prefers_longer: float | None
    labels_prefer_longer: float | None
    n: int


class Agreement(TypedDict):
    pairwise: float | None
    unanimous: float | None


class Bin(TypedDict):
    said: float
    happened: float
    weight: float


class Calibration(TypedDict):
    bins: list[Bin]


class RewardModel(TypedDict):
    accuracy: NotRequired[float]
    low: NotRequired[float]
    high: NotRequired[float]
    ceiling: NotRequired[float | None]
    length_bias: NotRequired[LengthBias | None]
    agreement: NotRequired[Agreement | None]
    calibration: NotRequired[Calibration | None]
    slices: NotRequired[dict[str, dict[str, Accuracy]] | None]
    members: NotRequired[dict[str, Accuracy] | None]


class Model(TypedDict):
    """Metrics of a model; more of them are numbers or nothing."""

    run: NotRequired[str]
    bits_per_byte: NotRequired[float | None]
    kl: NotRequired[float | None]
    kl_bound: NotRequired[float]
    score: NotRequired[float | None]


class Best(Model):
    n: int
    curve: NotRequired[Any]


class Place(TypedDict):
    """A point of a track."""

    kl: float
    gold: float
    gold_gain: float
    proxy_gain: float
    n: NotRequired[int]
    step: NotRequired[int]


class Curve(TypedDict):
    kl: list[float]
    gain: list[float]


class Fit(TypedDict):
    alpha: float
    beta: float
    r2: float | None
    peak_distance: float | None
    beyond: bool
    curve: Curve


class Track(TypedDict):
    """Gold and proxy score along √KL."""

    name: str
    method: str
    points: list[Place]
    fit: Fit | None


class Round(TypedDict):
    """A round of training; more of it are numbers."""

    round: int
    name: str
    gold: NotRequired[float]
    proxy_gain: NotRequired[float]
    kl: NotRequired[float]
    agreement: NotRequired[float]
    agreement_ceiling: NotRequired[float]
    accuracy: NotRequired[float]


class Evaluation(TypedDict, total=False):
    """Parts of `evaluation.json` that may be missing."""

    win_rates: dict[str, Share] | None
    reward_model: RewardModel | None
    best_of_n: Best | None
    judge: str
    reference: str | None
    harness: dict[str, dict[str, dict[str, float | None]]] | None
    facts: dict[str, str] | None
    overoptimisation: list[Track]
    rounds: list[Round]


class AnswerLine(TypedDict):
    """A line of `answers.jsonl`."""

    prompt: list[list[str]]
    category: NotRequired[str]
    answers: dict[str, Answer]


class Answer(TypedDict):
    response: str


def checked_evaluation(content: Any) -> dict[str, Any]:
    """The content of `evaluation.json`, without the parts that are not as this version writes them.

    Raises:
        Unreadable: it holds no models.
    """
    if not isinstance(content, dict) or not fits(content.get("models"), dict[str, Model]):
        raise Unreadable("it holds no models with their metrics")
    hints = get_type_hints(Evaluation)
    odd = [name for name, value in content.items() if name in hints and not fits(value, hints[name])]
    if odd:
        log.warning("evaluation.json: %s can't be understood and is left out", ", ".join(odd))
    return {name: value for name, value in content.items() if name not in odd}
