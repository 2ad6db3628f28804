"""What mkdocs needs beside docs/: the pages at the root of the repository, with their links turned to match."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh/index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""File at the root: page of the site. One text for both, so that they can't differ."""
OUTSIDE = ("LICENSE",)
"""What pages link to and the site does not have: the link becomes plain text."""


def on_config(config: Any, **_: Any) -> Any:
    """A page that mkdocs.yml does not list comes last in its part of the navigation, rather than nowhere."""
    parts = {title: pages for part in config.nav for title, pages in part.items()}
    listed = {path for pages in parts.values() for page in pages for path in page.values()}
    for file in sorted((ROOT / "docs").rglob("*.md")):
        path = file.relative_to(ROOT / "docs").as_posix()
        if path not in listed:
            parts["中文" if path.startswith("zh/") else "Reference"].append(path)
    return config


def on_files(files: Files, config: Any, **_: Any) -> Files:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=relink(text, "", page)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    here = page.file.src_uri
    return markdown if here in PAGES.values() else relink(markdown, "docs/" + here, here)


def on_page_context(context: Any, page: Any, config: Any, **_: Any) -> Any:
    """Words of the theme and the page's `lang` in the language of the page."""
    config.theme["language"] = "zh" if page.file.src_uri.startswith("zh/") else "en"
    return context


def relink(text: str, source: str, page: str) -> str:
    """Links and pictures between files of the repository become those between pages of the site.

    Args:
        source: path of the Markdown file in the repository; "" for one at the root.
        page: where the site has it.
    """
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)", lambda m: _link(m, source, page), text)


def _link(match: re.Match[str], source: str, page: str) -> str:
    label, target, anchor = match[1], match[2], match[3] or ""
    path = (ROOT / source).parent if source else ROOT
    file = (path / target).resolve().relative_to(ROOT).as_posix()
    if file in OUTSIDE:
        return label
    there = PAGES.get(file, file.removeprefix("docs/"))
    up = "../" * page.count("/")
    return f"[{label}]({up}{there}{anchor})"
