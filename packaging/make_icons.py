"""Draw the icons that Briefcase wants from the one that there is: `python packaging/make_icons.py`. Needs PySide6 and Pillow."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE.parent / "ui" / "upscaler_ui" / "desktop" / "assets" / "icon.svg"
SIDES = (16, 32, 48, 64, 128, 256, 512)


def main() -> int:
    """Write upscaler-SIDE.png, upscaler.ico and upscaler.icns into `icons`; returns an exit code."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PIL import Image
    from PySide6.QtCore import QBuffer, QIODevice, QSize
    from PySide6.QtGui import QGuiApplication, QIcon

    application = QGuiApplication([])
    icon = QIcon(str(SOURCE))
    folder = HERE / "icons"
    folder.mkdir(exist_ok=True)
    images: list[Image.Image] = []
    for side in SIDES:
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        icon.pixmap(QSize(side, side)).save(buffer, "PNG")
        image = Image.open(io.BytesIO(bytes(buffer.data().data())))
        image.load()
        images.append(image)
        image.save(folder / f"upscaler-{side}.png", optimize=True)
    images[-2].save(folder / "upscaler.ico", sizes=[(side, side) for side in SIDES[:6]])
    images[-1].save(folder / "upscaler.icns")
    del application
    return 0


if __name__ == "__main__":
    sys.exit(main())
