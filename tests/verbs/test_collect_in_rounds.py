"""What rounds ask of a collection: prompts of its own, and how a reward model does on answers it has not seen."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from collect import collect
from rlhf.config import CollectConfig
from rlhf.data.records import Prompt, Ranking
from rlhf.labelling.questions import Question
from rlhf.labelling.vote_log import Said, VoteLog, event_line
from rlhf.models.files.export import export
from rlhf.models.files.loading import load_policy, load_scorer
from rlhf.runs import Parent, Summary
from verbs.answer_pool import part_of
from verbs.fresh_agreement import among, fresh_agreement, ranked_samples
from verbs.label.reading import questions_in

SMALL = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 0.1}
PROMPTS = [Prompt.of(f"question {number}?") for number in range(50)]


def test_parts_share_no_prompt_and_together_have_them_all() -> None:
    parts = [part_of(PROMPTS, number, 3, seed=1) for number in (1, 2, 3)]
    assert sorted(map(len, parts)) == [16, 17, 17]
    assert {prompt.key for part in parts for prompt in part} == {prompt.key for prompt in PROMPTS}
    assert not any({p.key for p in one} & {p.key for p in other} for one, other in combinations(parts, 2))
    assert all(part == sorted(part, key=PROMPTS.index) for part in parts), "in their own order"
    assert part_of(PROMPTS, 4, 3, seed=1) == parts[0], "after the last part comes the first again"
    assert part_of(PROMPTS, 1, 3, seed=2) != parts[0]
    assert part_of(PROMPTS, 1, 1, seed=1) == PROMPTS


def test_only_what_the_policy_wrote_is_its_own() -> None:
    prompt, other = PROMPTS[:2]
    ranking = Ranking(prompt, ("a", "b", "c", "d"), (1, 2, 2, 3))
    assert among(ranking, {"a", "c", "x"}) == Ranking(prompt, ("a", "c"), (1, 2))
    assert among(ranking, {"b", "c"}) is None, "a tie compares nothing"
    found = ranked_samples([prompt, other], [["a", "d"], ["e"]], [["a", "b", "d"], ["e", "f"]], [(2, 1, 3), None])
    assert found == [Ranking(prompt, ("a", "d"), (2, 3))]


def test_agreement_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right in 2 of 3 pairs of one prompt and in the only pair of another: (2/3 + 1)/2."""
    scores = {"best": 1.0, "middle": 3.0, "worst": 2.0, "good": 5.0, "bad": 4.0}

    class Scorer:
        @staticmethod
        def scores(prompts: list[Prompt], answers: list[str]) -> list[float | None]:
            return [-scores[answer] if answer in ("best", "middle", "worst") else scores[answer] for answer in answers]

    monkeypatch.setattr("verbs.fresh_agreement.load_reward_judge", lambda *_: Scorer)
    labelled = [
        Ranking(PROMPTS[0], ("best", "middle", "worst"), (1, 2, 3)),
        Ranking(PROMPTS[1], ("good", "bad"), (1, 2)),
    ]
    config = CollectConfig()
    config.collect.annotator = "reward"
    found = fresh_agreement(config, Parent("folder", Path()), 100, labelled)
    assert found["agreement"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["agreement_prompts"] == 2 and found["agreement_low"] < found["agreement"] < found["agreement_high"]
    assert "agreement_ceiling" not in found, "how noisy such labels are is not known"
    assert fresh_agreement(config, Parent("folder", Path()), 100, []) == {}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rlhf.data.tokenizers.tokenizer import load_tokenizer

    folder, tiny = tmp_path_factory.mktemp("models"), load_tokenizer("tiny")
    export(load_policy(None, SMALL, tiny, seed=1), tiny, folder / "policy")
    export(load_scorer(None, SMALL, tiny, seed=2), tiny, folder / "reward")
    return folder


@pytest.mark.ci
def test_it_waits_for_people_and_the_same_command_continues(
    models: Path, program_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        f"model.init={models}/policy", f"collect.proxy={models}/reward", "collect.annotator=people",
        "rollout.max_new_tokens=6", "collect.samples=2", "collect.prompts=4", "resume=true", "hydra.run.dir=out",
    ]  # fmt: skip
    assert collect.main(command) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("collect.annotator: ") and "0 of 4" in told and "\n" not in told
    assert "python label.py path=out/questions.jsonl out=out/votes" in told
    assert Summary.read(Path("out")).status == "waiting"
    sampled = Path("out/completions.jsonl").read_bytes()

    questions = questions_in(Path("out/questions.jsonl"), "auto", seed=1)
    assert len(questions) == 4 and all(len(question.responses) == 2 for question in questions)
    log = VoteLog(Path("out/votes"))

    def vote(question: Question, turn: int, ranks: tuple[int, ...] | None) -> None:
        event = "skip" if ranks is None else "vote"
        log.append(event_line(event, "ann", turn, question, (0, 1), None if ranks is None else Said(ranks)))

    vote(questions[0], 0, (2, 1))
    vote(questions[1], 1, (1, 2))
    assert collect.main(command) == 2
    assert "2 of 4" in capsys.readouterr().err
    assert Path("out/completions.jsonl").read_bytes() == sampled, "nothing is sampled again"
    vote(questions[2], 2, None)
    assert collect.main([*command, "collect.answered=0.75"]) == 0, "a skip is an answer; and the run is the same one"
    log.close()
    records = [json.loads(line) for line in Path("out/preferences.jsonl").read_text("utf-8").splitlines()]
    assert [(record["chosen"], record["rejected"]) for record in records] == [
        questions[0].responses[::-1],
        questions[1].responses,
    ]
    summary = Summary.read(Path("out"))
    assert summary.status == "finished"
    assert (summary.final["rankings"], summary.final["pairs"], summary.final["agreement_prompts"]) == (2, 2, 2)
