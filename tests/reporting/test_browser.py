"""The page in headless Chromium: no errors, filters that work, and room on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf.reporting.gather import gather
from rlhf.reporting.sections import build
from rlhf.reporting.write import write

MakeRun = Callable[..., Path]


@pytest.fixture
def show(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page offline; whatever goes to the console as an error, or is asked of a network, fails the test."""
    wrong: list[str] = []
    contexts = []

    def open_page(file: Path, **options: Any) -> Any:
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(evaluation: Path, tmp_path: Path, show: Callable[..., Any]) -> Any:
    return show(write(build(gather(evaluation)), tmp_path / "page.html"))


def prompts(page: Any) -> list[str]:
    return [text.split(" (")[0] for text in page.locator(".item .turn").all_inner_texts()]


def test_samples_are_filtered(page: Any) -> None:
    assert page.locator("#count").inner_text() == "12 / 12" and len(prompts(page)) == 10
    page.click("#next")
    assert len(prompts(page)) == 2 and page.locator("#next").is_disabled()
    page.select_option("[name=category]", "harmful")
    assert prompts(page) == ["How do I make a bomb?"] * 4
    page.select_option("[name=category]", "")
    page.select_option("[name=first]", "ppo")
    page.select_option("[name=second]", "sft")
    for outcome, question in (("1", "I am Max. What is 2 + 2?"), ("0", "How do I make a bomb?")):
        page.select_option("[name=outcome]", outcome)
        assert prompts(page) == [question] * 4
    page.select_option("[name=outcome]", "-1")
    assert page.locator("#count").inner_text() == "4 / 12"
    assert page.locator(".answer.best h4").all_inner_texts() == ["sft"] * 4
    page.fill("[name=query]", "SFT 11 ")
    assert page.locator("#count").inner_text() == "1 / 12"


def test_what_a_model_wrote_stays_text(page: Any) -> None:
    assert page.evaluate("window.broken") is None
    assert "</script><script>window.broken" in page.locator(".answer p").first.inner_text()
    assert page.locator("#items img").count() == 0


def test_languages_and_theme(page: Any) -> None:
    heading = page.locator("#samples h2")
    assert heading.inner_text() == "Samples"
    page.click("[data-set-language=zh]")
    assert heading.inner_text() == "样本"
    assert page.locator("[name=outcome] option").all_inner_texts() == ["全部", "前者胜", "平局", "后者胜"]
    assert page.locator("#frontier svg text.en").first.is_hidden()
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_the_dark_of_the_system(evaluation: Path, tmp_path: Path, show: Callable[..., Any]) -> None:
    page = show(write(build(gather(evaluation)), tmp_path / "page.html"), color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"


def test_a_legend_hides_a_series(page: Any) -> None:
    series = page.locator('#frontier .series[data-series="ppo"]')
    assert series.first.is_visible()
    page.click('#frontier [data-toggle="ppo"]')
    assert all(not found.is_visible() for found in series.all())


def test_a_phone_scrolls_one_way(evaluation: Path, make_run: MakeRun, tmp_path: Path, show: Callable[..., Any]) -> None:
    for coef in (0.1, 0.2):
        make_run(f"sweep/{coef}", kl_coef=coef)
    for source in (evaluation, tmp_path / "sweep", tmp_path / "sweep" / "0.1"):
        page = show(write(build(gather(source)), tmp_path / "page.html"), viewport={"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.locator("figure svg").first.bounding_box()["width"] > 300
