from collections.abc import Sequence
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from rlhf.config import keys
from rlhf.config.rules.choice import check_choice
from rlhf.config.verbs.schemas import CollectSettings
from rlhf.data.records import Prompt
from rlhf.errors import ConfigError
from rlhf.labelling.questions import Answers, questions_of
from rlhf.labelling.selection import BY_SCORES, WAYS, Pair, choose


def pool(*numbers: int) -> list[Answers]:
    """Prompts with so many answers."""
    return [
        Answers(Prompt((("user", f"question {place}"),)), tuple(f"answer {place} {n}" for n in range(number)))
        for place, number in enumerate(numbers)
    ]


def places(pairs: Sequence[Pair]) -> list[tuple[int, int, int]]:
    return [(pair.place, pair.first, pair.second) for pair in pairs]


AGREE = torch.tensor([[0.0, 3.0, -3.0], [0.0, 3.0, -3.0]])
"""One opinion: the second answer is better than the first, the third worse."""
DIFFER = torch.tensor([[0.0, 3.0, 0.1], [0.0, -3.0, 0.2]])
"""Two opinions of the second answer; the first and the third are alike."""
DECIDED = torch.tensor([[0.0, 3.0, 6.0], [0.0, 3.1, 6.0]])


def test_disagreement_asks_where_the_models_differ() -> None:
    found = choose("disagreement", pool(3, 3, 3), 2, 1, scores=[AGREE, DIFFER, DECIDED])
    assert places(found)[0] in [(1, 0, 1), (1, 1, 2)], (
        "both pairs with the second answer are far apart in their opinions"
    )
    assert found[0].value > 0.2
    assert found[1].place == 2, "where there is some difference of opinion, before where there is none"


def test_margin_asks_where_they_are_undecided() -> None:
    found = choose("margin", pool(3, 3, 3), 3, 1, scores=[AGREE, DIFFER, DECIDED])
    assert found[0].place == 1
    assert {pair.place for pair in found} == {0, 1, 2}, "each prompt gives one pair before any gives two"


def test_a_second_pair_of_a_prompt_comes_after_the_first_of_all() -> None:
    found = choose("disagreement", pool(3, 3), 4, 1, scores=[AGREE, DIFFER])
    assert [pair.place for pair in found] == [1, 0, 1, 0]
    assert len({pair.id for pair in found}) == 4


def test_there_are_no_more_than_there_are() -> None:
    assert len(choose("random", pool(3, 2, 1), 100, 1)) == 4


def test_what_was_asked_before_is_left_out() -> None:
    whole = pool(2, 2, 2)
    known = {question.id for question in questions_of(whole[:2], "pairs", seed=7)}
    assert places(choose("random", whole, 3, 1, known=known)) == [(2, 0, 1)], "ids are those of the page's questions"


def test_random_does_not_depend_on_the_rest_of_the_pool() -> None:
    whole = pool(*[6] * 40)
    some = choose("random", whole[:20], 20, 1)
    assert sorted(places(some)) == sorted(p for p in places(choose("random", whole, 40, 1)) if p[0] < 20)
    assert places(some) != places(choose("random", whole[:20], 20, 2))
    assert {pair.first for pair in some} != {0}, "not always the first two"


def test_prompts_without_scores_are_not_asked_about() -> None:
    nan = torch.full((2, 3), float("nan"))
    assert [pair.place for pair in choose("margin", pool(3, 3, 3), 3, 1, scores=[None, DIFFER, nan])] == [1, 1, 1]


def test_diverse_pairs_lie_far_from_each_other_and_from_those_of_earlier_turns() -> None:
    where = [0.0, 0.1, 5.0, 5.1, 9.0]

    def features(pairs: Sequence[Pair]) -> Tensor:
        return torch.tensor([[where[pair.place]] for pair in pairs])

    found = [pair.place for pair in choose("diverse", pool(*[2] * 5), 3, 1, features=features)]
    assert {round(where[place] / 5) for place in found} == {0, 1, 2}
    # The first turn takes one pair of each; the second goes on far from all of them.
    more = choose("diverse", pool(*[3] * 5), 6, 1, features=features)
    assert sorted(pair.place for pair in more[:5]) == [0, 1, 2, 3, 4]


def test_configurations_offer_what_there_is() -> None:
    """`rlhf.config` may not import this room, so the ways are written a second time."""
    offered = next(key for key in keys(CollectSettings) if key.name == "select").info.choices
    assert offered == WAYS
    for way in WAYS:
        settings = CollectSettings(select=way, comparisons=1, ensemble=["a", "b"])
        with nullcontext() if way in BY_SCORES else pytest.raises(ConfigError, match=r"^collect\.ensemble: "):
            check_choice(settings)


@pytest.mark.parametrize(("way", "missing"), [("newest", "way"), ("margin", "scores"), ("diverse", "features")])
def test_refusals(way: str, missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        choose(way, pool(2), 1, 1)
