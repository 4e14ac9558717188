"""Writes into pyproject.toml what the ComfyUI registry wants to know and this tree cannot: whose it is.

python packaging/state_publisher.py PUBLISHER https://github.com/OWNER/NAME [pyproject.toml]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
_ICON = "ui/upscaler_ui/app/assets/favicon.png"


def stated(text: str, publisher: str, repository: str) -> str:
    """The text of a pyproject.toml with these in it.

    Args:
        publisher: the id of a publisher in the registry.
        repository: its address on GitHub.
    """
    address = urlsplit(repository)
    if address.scheme != "https" or address.netloc != "github.com" or address.path.count("/") != 2:
        raise SystemExit(f"{repository!r}: is not a repository on GitHub; give https://github.com/OWNER/NAME")
    if not re.fullmatch(r"[\w-]+", publisher):
        raise SystemExit(f"{publisher!r}: is not the id of a publisher; see https://registry.comfy.org")
    icon = f"https://raw.githubusercontent.com{address.path}/HEAD/{_ICON}"
    text = re.sub(
        r"^\[project\.scripts\]", f'[project.urls]\nRepository = "{repository}"\n\n\\g<0>', text, flags=re.MULTILINE
    )
    return re.sub(
        r"^\[tool\.comfy\].*", f'[tool.comfy]\nPublisherId = "{publisher}"\nIcon = "{icon}"', text, flags=re.MULTILINE
    )


def main() -> int:
    """State it in place."""
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    path = Path(sys.argv[3]) if len(sys.argv) == 4 else ROOT / "pyproject.toml"
    path.write_text(stated(path.read_text("utf-8"), sys.argv[1], sys.argv[2]), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
