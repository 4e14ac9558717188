"""Make a program of one file for any Linux: `python packaging/build_appimage.py OUT.AppImage APPIMAGETOOL`.

It holds what the Debian package holds, and a Python of its own. Needs uv, pip, and appimagetool
(https://github.com/AppImage/appimagetool); with the word `none` in its stead OUT becomes the folder that it packs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from build_deb import HERE, HOME, make_tree

_PYTHON = "3.12"
_RUN = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/usr/python/bin/python3" -s -E -c 'import sys
here = sys.argv.pop(1)
sys.path[:0] = [here + "/{home}", here + "/{home}/qt"]
from upscaler_launcher.main import main
sys.exit(main())' "$here" "$@"
"""


def main() -> int:
    """Make it; returns an exit code."""
    out, tool = Path(sys.argv[1]).absolute(), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "upscaler.AppDir")
        make_tree(tree)
        (tree / "usr" / "bin" / "upscaler-app").unlink()  # is for the Python of a system
        _add_python(tree / "usr" / "python")
        (tree / "AppRun").write_text(_RUN.format(home=HOME))
        (tree / "AppRun").chmod(0o755)
        shutil.copy(HERE / "linux" / "upscaler.desktop", tree)
        shutil.copy(tree / "usr/share/icons/hicolor/scalable/apps/upscaler.svg", tree)
        if tool == "none":
            shutil.copytree(tree, out, symlinks=True)
        else:
            subprocess.run([tool, str(tree), str(out)], check=True)
    return 0


def _add_python(folder: Path) -> None:
    """A Python that runs wherever it lies, without what only builds other things."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["uv", "python", "install", _PYTHON, "--install-dir", place, "--no-bin"], check=True)
        shutil.copytree(
            next(path for path in Path(place).glob("cpython-*") if not path.is_symlink()), folder, symlinks=True
        )
    version = f"lib/python{_PYTHON}"
    for name in (
        "include",
        "share",
        f"{version}/test",
        f"{version}/idlelib",
        f"{version}/ensurepip",
        f"{version}/site-packages/pip",
    ):
        shutil.rmtree(folder / name, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
