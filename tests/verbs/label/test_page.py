"""The page in headless Chromium: keys, undo, reload, two people at once, a phone, and texts that try to be code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the page needs Uvicorn: pip install -e '.[web]'")
pytest.importorskip("starlette", reason="the page needs Starlette: pip install -e '.[web]'")
import uvicorn

from rlhf.data.records import Prompt
from rlhf.labelling.arena import Arena
from rlhf.labelling.desk import Desk
from rlhf.labelling.questions import make_question
from rlhf.labelling.vote_log import VoteLog, read_votes, standing
from verbs.label.server import build_app
from verbs.web.listening import listen

EVIL = "</p></article><script>window.broken = true</script><img src=x onerror='window.broken = true'>"


class Served:
    """A desk behind its page, which can be stopped and started again as a new process would."""

    def __init__(self, folder: Path, make: Callable[[VoteLog], Desk]) -> None:
        self.folder, self.make = folder, make
        self.port = 0
        self.start()

    def start(self) -> None:
        self.log = VoteLog(self.folder)
        at = listen("127.0.0.1", self.port)
        self.port = at.getsockname()[1]
        app = build_app(self.make(self.log))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
        self.thread = threading.Thread(target=self.server.run, args=([at],), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()
        self.log.close()

    @property
    def votes(self) -> list[Any]:
        return list(standing(read_votes(self.log.path)))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    found: list[Served] = []

    def start(make: Callable[[VoteLog], Desk]) -> Served:
        found.append(Served(tmp_path, make))
        return found[-1]

    yield start
    for served in found:
        served.stop()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """A page of a browser of its own; what is asked of any other server, and every error, fails the test."""
    wrong: list[str] = []
    contexts = []

    def show(served: Served, annotator: str = "", **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        base = f"http://127.0.0.1:{served.port}/"
        # A refused vote and a server that is gone are what the console is expected to show.
        expected = ("409", "ERR_CONNECTION_REFUSED")
        page.on(
            "console",
            lambda m: wrong.append(m.text) if m.type == "error" and not any(e in m.text for e in expected) else None,
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith((base, "data:")) else None)
        page.goto(base + (f"?annotator={annotator}" if annotator else ""))
        return page

    yield show
    for context in contexts:
        context.close()
    assert wrong == []


def pairs(log: VoteLog) -> Desk:
    texts = [("good one", "bad one"), ("<b>x</b>", EVIL), ("甲", "乙"), ("p", "q")]
    return Desk([make_question("pairs", Prompt.of(f"q{i} {EVIL}"), two) for i, two in enumerate(texts)], log, 1)


def one(task: str, *texts: str) -> Callable[[VoteLog], Desk]:
    return lambda log: Desk([make_question(task, Prompt.of("q"), texts)], log, 1)


def press(page: Any, key: str, progress: str) -> None:
    """Press a key and wait for what it does."""
    page.keyboard.press(key)
    page.locator("#progress", has_text=progress).wait_for()


def answers(page: Any) -> list[str]:
    return page.locator(".answer .text").all_inner_texts()


def test_keys_undo_reload_and_a_new_process(serve: Any, open_page: Any) -> None:
    served = serve(pairs)
    page = open_page(served)
    page.fill("#who", "ada")
    page.keyboard.press("Enter")
    page.locator("#answers").wait_for()
    first, second = answers(page), []
    press(page, "2", "1 of 4")
    second = answers(page)
    assert served.votes[0]["responses"][served.votes[0]["ranks"].index(1)] in first[1]
    press(page, "u", "0 of 4")
    assert answers(page) == first and served.votes == []
    press(page, "1", "1 of 4")
    page.reload()
    page.locator("#answers").wait_for()
    assert answers(page) == second, "a reload asks the question that was open, and nobody's name again"
    served.stop()
    page.keyboard.press("0")
    page.locator("#said", has_text="No connection").wait_for()
    served.start()
    press(page, "0", "2 of 4")
    press(page, "s", "3 of 4")
    press(page, "1", "4 of 4")
    assert page.locator("#ask").inner_text() == "That was all. Thank you!"
    assert [line["event"] for line in served.votes] == ["vote", "vote", "skip", "vote"]
    assert [line["ranks"] for line in served.votes if line["event"] == "vote"][1] == [1, 1]
    assert len({line["question"] for line in served.votes}) == 4


def test_texts_are_shown_and_never_run(serve: Any, open_page: Any) -> None:
    served = serve(pairs)
    page = open_page(served, "ada")
    seen = []
    for done in range(1, 5):
        page.locator("#answers").wait_for()
        seen += answers(page)
        assert EVIL in page.locator(".turn.user .text").inner_text()
        press(page, "1", f"{done} of 4")
    assert EVIL in seen and "<b>x</b>" in seen
    assert page.evaluate("() => window.broken") is None
    assert page.locator("main img").count() == page.locator("main script").count() == 0


def test_a_name_that_is_code_is_a_name(serve: Any, open_page: Any) -> None:
    name = "<img src=x onerror=alert(1)>"
    page = open_page(serve(pairs))
    page.fill("#who", name)
    page.keyboard.press("Enter")
    page.locator("#name", has_text=name).wait_for()
    assert page.locator("header img").count() == 0


def test_two_people_at_once_and_two_windows_of_one(serve: Any, open_page: Any) -> None:
    served = serve(pairs)
    ada, bob, window = (open_page(served, name) for name in ("ada", "bob", "ada"))
    for page in (ada, bob, window):
        page.locator("#answers").wait_for()
    press(ada, "0", "1 of 4")
    press(bob, "0", "1 of 4")
    assert bob.locator("#agreement").inner_text() == "agreement 100% of 1"
    # The second window still shows the first question; its key is no second vote.
    window.keyboard.press("1")
    window.locator("#said", has_text="Another window").wait_for()
    assert window.locator("#progress").inner_text() == "1 of 4"
    assert sorted((line["annotator"], line["turn"]) for line in served.votes) == [("ada", 0), ("bob", 0)]


def test_keys_that_are_no_votes(serve: Any, open_page: Any) -> None:
    served = serve(pairs)
    page = open_page(served, "ada")
    page.locator("#answers").wait_for()
    for key in ("Control+1", "Alt+2", "9", "Enter", "u"):
        page.keyboard.press(key)
    page.keyboard.down("1")
    page.keyboard.down("1")  # held: the browser repeats it
    page.locator("#progress", has_text="1 of 4").wait_for()
    page.keyboard.up("1")
    page.reload()
    page.locator("#progress", has_text="1 of 4").wait_for()
    assert len(served.votes) == 1


def test_a_ranking(serve: Any, open_page: Any) -> None:
    served = serve(one("ranking", "a", "b", "c", "d"))
    page = open_page(served, "ada")
    page.locator("#answers").wait_for()
    shown = answers(page)
    for key in ("3", "1", "Backspace", "2", "0", "4"):
        page.keyboard.press(key)
    assert page.locator(".rank").all_inner_texts() == ["place 2", "place 1", "place 2"]
    press(page, "Enter", "1 of 1")
    (vote,) = served.votes
    ranks = dict(zip(vote["responses"], vote["ranks"], strict=True))
    assert [ranks[text] for text in shown] == [3, 2, 1, 2], "the last one needs no key"


def test_the_best_with_a_reason(serve: Any, open_page: Any) -> None:
    served = serve(one("best", "a", "b", "c"))
    page = open_page(served, "ada")
    page.locator("#answers").wait_for()
    shown = answers(page)
    page.keyboard.press("2")
    page.keyboard.type("su1s")  # letters and digits of a reason are no keys
    press(page, "Enter", "1 of 1")
    (vote,) = served.votes
    assert vote["comment"] == "su1s" and vote["responses"][vote["ranks"].index(1)] == shown[1]
    assert sorted(vote["ranks"]) == [1, 2, 2]


@pytest.mark.parametrize(("key", "desirable"), [("1", True), ("2", False), ("0", None)])
def test_thumbs(serve: Any, open_page: Any, key: str, desirable: bool | None) -> None:
    served = serve(one("thumbs", "a"))
    page = open_page(served, "ada")
    page.locator("#answers").wait_for()
    press(page, key, "1 of 1")
    assert served.votes[0]["desirable"] is desirable


@pytest.mark.parametrize(("key", "deserved"), [("1", True), ("2", False)])
def test_a_spot_check(serve: Any, open_page: Any, key: str, deserved: bool) -> None:
    question = make_question("check", Prompt.of("q"), ("a", "b"), ("step 0", "step 9"), (0.25, 1.5))
    served = serve(lambda log: Desk([question], log, 1))
    page = open_page(served, "ada")
    page.locator("#answers").wait_for()
    high = answers(page).index("b") + 1
    assert page.locator("#ask").inner_text() == f"Answer {high} got the higher score. Does it deserve it?"
    assert sorted(page.locator(".score").all_inner_texts()) == ["score 0.25", "score 1.50"]
    assert "step" not in page.locator("main").inner_text(), "which step wrote it is hidden"
    press(page, key, "1 of 1")
    (vote,) = served.votes
    assert (vote["responses"][vote["ranks"].index(1)] == "b") is deserved


def test_an_arena(serve: Any, open_page: Any) -> None:
    go_on = threading.Event()

    def answer(model: int, prompt: Prompt, annotator: str, number: int) -> Iterator[str]:
        yield f"{'AB'[model]}: "
        assert go_on.wait(30)
        yield prompt.text

    served = serve(lambda log: Arena(answer, ("run/a", "run/b"), log, 1))
    page = open_page(served, "ada")
    page.locator("#say").wait_for()
    page.fill("#say", "one")
    page.keyboard.press("Enter")
    page.locator(".answer .text", has_text=": ").wait_for()
    (first, second) = answers(page)
    assert first.strip() in ("A:", "B:") and second == "", "it is shown while it is written"
    page.keyboard.press("1")
    assert not served.votes, "there is nothing to vote on yet"
    go_on.set()
    page.locator("#answers:not([aria-busy])").wait_for()
    assert answers(page)[0] == f"{first.strip()} one", "where it was"
    assert sorted(answers(page)) == ["A: one", "B: one"] and "run/" not in page.content()
    preferred = answers(page)[1]
    press(page, "2", "votes: 1")
    assert page.locator(".turn .text").all_inner_texts() == ["one", preferred]
    page.keyboard.type("two u 1")  # the cursor stands in the field again
    page.keyboard.press("Enter")
    page.locator("#answers:not([aria-busy])").wait_for()
    page.reload()
    page.locator("#answers").wait_for()
    press(page, "0", "votes: 2")
    assert [len(line["prompt"]) if isinstance(line["prompt"], list) else 1 for line in served.votes] == [1, 3]


@pytest.mark.parametrize("task", ["pairs", "ranking"])
def test_a_phone_and_chinese(serve: Any, open_page: Any, task: str) -> None:
    long = "word " * 200 + "x" * 300
    served = serve(one(task, long, "b", *(["c"] if task == "ranking" else [])))
    page = open_page(served, "ada", viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page.locator("#answers").wait_for()
    page.tap("#language")
    assert page.locator("html").get_attribute("lang") == "zh"
    assert page.evaluate("() => document.documentElement.scrollWidth") == 360
    heights = [button.bounding_box()["height"] for button in page.locator("footer button").all()]
    assert min(heights) >= 44, "a finger hits them"
    assert all(card.bounding_box()["width"] > 300 for card in page.locator(".answer").all())
    if task == "ranking":
        for card in page.locator(".answer").all():
            card.tap()
        page.locator("footer button", has_text="提交").tap()
    else:
        page.locator("footer button", has_text="平局").tap()
    page.locator("#ask", has_text="全部完成").wait_for()
    assert len(served.votes) == 1
