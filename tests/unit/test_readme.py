"""The README's table of options is the table of settings. `UPDATE_README=1` writes it."""

from __future__ import annotations

import os
from pathlib import Path

from upscaler.options.settings import options

README = Path(__file__).parents[2] / "README.md"
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
    text = README.read_text("utf-8")
    before, rest = text.split(START)
    old, after = rest.split(END)
    if os.environ.get("UPDATE_README"):
        README.write_text(before + START + table() + END + after, "utf-8")
    else:
        assert old == table(), "run UPDATE_README=1 python -m pytest tests/unit/test_readme.py"
