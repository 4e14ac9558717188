"""The documentation: its table of options is the table of settings (`UPDATE_README=1` writes it), and its links lead somewhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from upscaler.options.settings import options

ROOT = Path(__file__).parents[2]
OPTIONS = ROOT / "docs" / "options.md"
START, END = (
    "<!-- options: made from upscaler/options/settings.py by tests/unit/test_readme.py -->\n",
    "<!-- end of options -->",
)


def table() -> str:
    rows = ["| option | meaning | default | allowed |", "| --- | --- | --- | --- |"]
    for option in options():
        flags = ", ".join(f"`{flag}`" for flag in option.spec.flags)
        default = (
            "`auto`"
            if option.spec.auto and option.default == 0
            else ""
            if option.default in (None, "")
            else f"`{str(option.default).lower() if option.kind is bool else option.default}`"
        )
        allowed = "" if option.spec.pattern else option.allowed
        rows.append(f"| {flags} | {option.spec.help} | {default} | {allowed} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_options_is_that_of_the_settings() -> None:
    text = OPTIONS.read_text("utf-8")
    before, rest = text.split(START)
    old, after = rest.split(END)
    if os.environ.get("UPDATE_README"):
        OPTIONS.write_text(before + START + table() + END + after, "utf-8")
    else:
        assert old == table(), "run UPDATE_README=1 python -m pytest tests/unit/test_readme.py"


PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))
ARRIVING = {"large.md", "server.md"}
"""Pages that are written and not here yet."""


def anchors(page: Path) -> set[str]:
    """The ids that a page's headings get."""
    heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if found.name in ARRIVING and not found.exists():
            continue
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(found), f"{page.name}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    assert [
        page.name
        for page in PAGES
        if page.parent.name == "docs" and f"({page.name})" not in index and page.name != "README.md"
    ] == []
