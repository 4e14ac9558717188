"""Make a program of one file for any Linux: `python packaging/build_appimage.py OUT.AppImage RUNTIME`.

It holds what the Debian package holds, and a Python of its own. Needs uv, pip, mksquashfs (Debian: squashfs-tools), and the
runtime of AppImages, the program that stands before the packed files and opens them: the file `runtime-x86_64` of
https://github.com/AppImage/type2-runtime/releases.
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
    out, runtime = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "upscaler.AppDir")
        make_tree(tree)
        (tree / "usr" / "bin" / "upscaler-app").unlink()  # is for the Python of a system
        _add_python(tree / "usr" / "python")
        (tree / "AppRun").write_text(_RUN.format(home=HOME))
        (tree / "AppRun").chmod(0o755)
        shutil.copy(HERE / "linux" / "upscaler.desktop", tree)
        shutil.copy(tree / "usr/share/icons/hicolor/scalable/apps/upscaler.svg", tree)
        _pack(tree, runtime, out)
    return 0


def _pack(tree: Path, runtime: Path, out: Path) -> None:
    """Write the runtime with the files behind it, which it looks for at its own end."""
    packed = tree.with_suffix(".squashfs")
    options = ["-root-owned", "-noappend", "-quiet", "-no-progress", "-comp", "zstd"]
    subprocess.run(["mksquashfs", str(tree), str(packed), *options], check=True)
    with out.open("wb") as stream:
        for part in (runtime, packed):
            with part.open("rb") as content:
                shutil.copyfileobj(content, stream)
    out.chmod(0o755)


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
