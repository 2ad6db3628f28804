"""Texts of others: nothing in them acts on a terminal, a log or a spreadsheet, and numbers stay numbers."""

from __future__ import annotations

import csv
import io
import logging
import unicodedata

import pytest
from rich.console import Console

from rlhf.plain_text import PrintableFormatter, csv_cell, one_line, printable
from rlhf.reporting.tables import Table
from rlhf.terminal import plain, table

HOSTILE = "[/INST] [bold]x[/] \x1b]0;title\x07\x1b[2J\x9b31m\r\u202egnp.exe\u2028"


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[31mb\x07\x7f\x85\x9bc\rd\u202e\u2028\ud800") == (
        "a\\x1b[31mb\\x07\\x7f\\x85\\x9bc\\rd\\u202e\\u2028\\ud800".replace("\\r", "\\x0d")
    )


def test_text_stays_text() -> None:
    text = "tab\there\nline\r\nÄ 中文 👩‍👩‍👧 עברית [x] \\x1b"
    assert printable(text) == text


def test_no_control_character_is_left() -> None:
    found = printable("".join(map(chr, range(0x3000))))
    left = {c for c in found if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs")}
    assert left == {"\t", "\n"}


def test_an_error_is_one_line() -> None:
    assert one_line("a\n\x1b[2J b\x85c\u2028d") == "a \\x1b[2J b c d"


def test_a_log_entry_neither_commands_nor_forges_another() -> None:
    record = logging.LogRecord("rlhf", logging.INFO, "", 0, "%s", ("x\x1b[2J\n2026 ERROR forged",), None)
    assert PrintableFormatter("%(levelname)s %(message)s").format(record) == "INFO x\\x1b[2J\n    2026 ERROR forged"


def test_tables_show_markup_and_obey_none() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system=None, width=200)
    console.print(table(["[/name]", "b"], [["[/INST]", HOSTILE], [plain("[red]", "bold"), 3]], title="[/title]"))
    said = stream.getvalue()
    for shown in ("[/name]", "[/INST]", "[/title]", "[bold]x[/]", "\\x1b]0;title\\x07", "[red]", "\\u202e"):
        assert shown in said
    assert "\x1b]0" not in said and "\u202e" not in said


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "＝1"])
def test_formulas_become_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1.5", "+3", "-1e-4", "-inf", "1", "", "a=b", "a-b", "±", -1.5, 3, None])
def test_numbers_and_plain_cells_stay(value: object) -> None:
    assert csv_cell(value) == value


def test_a_reports_csv_has_no_formula() -> None:
    found = Table("models", ["=head", "n"], [["@run", "-1.5"]]).csv()
    assert list(csv.reader(io.StringIO(found))) == [["'=head", "n"], ["'@run", "-1.5"]]
