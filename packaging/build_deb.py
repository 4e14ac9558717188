"""Make the package for Debian and Ubuntu: `python packaging/build_deb.py OUT.deb`. Needs uv, pip and dpkg-deb."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
HOME = "usr/lib/upscaler"
QT = "PySide6-Essentials==6.12.0"

_DEPENDS = (
    "python3 (>= 3.10), ca-certificates, libegl1, libgl1, libnss3, libasound2 | libasound2t64, libdbus-1-3, libxkbcommon-x11-0, "
    "libxcb-cursor0, libxcb-icccm4, libxcb-keysyms1, libxcb-image0, libxcb-render-util0, libxcb-shape0, libxcb-xinerama0, "
    "libxcb-xkb1, libxcomposite1, libxdamage1, libxrandr2, libxtst6, libxkbfile1, libfontconfig1, libglib2.0-0 | "
    "libglib2.0-0t64, fonts-dejavu-core | fonts-liberation | fonts-noto-core"
)
_CONTROL = """Package: upscaler
Version: {version}
Architecture: amd64
Maintainer: upscaler <upscaler@localhost>
Section: graphics
Priority: optional
Installed-Size: {size}
Depends: {depends}
Recommends: xdg-utils
Description: Makes pictures large, with real detail
 A tiled diffusion upscaler with a window. This package is the launcher: the
 first start downloads what enlarges pictures, for each user, and says how much.
"""
_COMMAND = """#!/bin/sh
exec /usr/bin/python3 -s -E -c 'import sys
sys.path[:0] = ["/{home}", "/{home}/qt"]
from upscaler_launcher.main import main
sys.exit(main())' "$@"
"""
_REFRESH = """#!/bin/sh
set -e
if command -v update-desktop-database >/dev/null; then update-desktop-database -q /usr/share/applications || true; fi
if command -v gtk-update-icon-cache >/dev/null; then gtk-update-icon-cache -q /usr/share/icons/hicolor || true; fi
"""
_BEFORE_REMOVAL = """#!/bin/sh
set -e
if [ "$1" = remove ]; then
    echo "upscaler: what each user has downloaded stays in ~/.local/share/upscaler-app; remove it with that folder."
    find /usr/lib/upscaler -name __pycache__ -type d -prune -exec rm -rf {} + || true
fi
"""
_KEPT = re.compile(
    r"PySide6/(__init__|_config|_git_pyside_version)\.py$|PySide6/Qt(Core|Gui|Widgets)\.abi3\.so$|PySide6/libpyside6\.abi3.*|"
    r"PySide6/(support|Qt/plugins/(platforms|platformthemes|xcbglintegrations|wayland-[\w-]+|imageformats|iconengines|"
    r"platforminputcontexts))/.*|PySide6/Qt/lib/(libQt6(Core|Gui|Widgets|DBus|Svg|OpenGL|XcbQpa|Wayland\w*|EglFS\w*)|libicu).*|"
    r"shiboken6/.*|.*\.dist-info/(METADATA|licenses/.*)"
)
"""What the launcher's window needs of Qt."""


def main() -> int:
    """Make the package; returns an exit code."""
    out = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        _add_control(tree, make_tree(tree))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(out)], check=True)
    return 0


def make_tree(tree: Path) -> str:
    """Write what a package installs below a folder; returns the version."""
    launcher = tree / HOME / "upscaler_launcher"
    ignore = shutil.ignore_patterns("__pycache__", "resources")
    shutil.copytree(HERE / "launcher" / "upscaler_launcher", launcher, ignore=ignore)
    subprocess.run([sys.executable, str(HERE / "make_resources.py"), str(launcher / "resources")], check=True)
    _add_qt(tree / HOME / "qt")
    _add_entry(tree, launcher / "resources" / "upscaler.svg")
    return next((launcher / "resources").glob("*.whl")).name.split("-")[1]


def _add_qt(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), QT]
    subprocess.run(pip, check=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif not _KEPT.match(path.relative_to(folder).as_posix()):
            path.unlink()


def _add_entry(tree: Path, icon: Path) -> None:
    command = tree / "usr" / "bin" / "upscaler-app"
    command.parent.mkdir(parents=True)
    command.write_text(_COMMAND.format(home=HOME))
    command.chmod(0o755)
    for source, target in (
        (HERE / "linux" / "upscaler.desktop", "usr/share/applications/upscaler.desktop"),
        (icon, "usr/share/icons/hicolor/scalable/apps/upscaler.svg"),
        (ROOT / "LICENSE", "usr/share/doc/upscaler/copyright"),
    ):
        path = tree / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
        path.chmod(0o644)


def _add_control(tree: Path, version: str) -> None:
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    folder = tree / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(_CONTROL.format(version=version, size=size, depends=_DEPENDS))
    for name, text in (("postinst", _REFRESH), ("postrm", _REFRESH), ("prerm", _BEFORE_REMOVAL)):
        (folder / name).write_text(text)
        os.chmod(folder / name, 0o755)


if __name__ == "__main__":
    sys.exit(main())
