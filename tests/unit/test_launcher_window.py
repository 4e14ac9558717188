"""The window of the first start: it hears all that its builder says, and tells how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

LAUNCHER = Path(__file__).parents[2] / "packaging" / "launcher"
WINDOW = """
import sys
from pathlib import Path
from types import SimpleNamespace
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QLabel, QPushButton
from upscaler_launcher.building import BuildError, Stopped
from upscaler_launcher.window import SetupWindow

application = QApplication(sys.argv[:1])
folder = Path(sys.argv[1])
endings = [BuildError("There is no network."), Stopped(), None]

class Builder:
    recipe = SimpleNamespace(version="1.0", download=3.4e9, disk=6.8e9)
    environments = SimpleNamespace(root=folder)
    def build(self):
        for number in range(800):
            self.note(f"line {number}")
        ending = endings.pop(0)
        if ending is not None:
            raise ending

heights = set()
builder = Builder()
window = SetupWindow(builder, folder / "log", update=False)
builder.note = window.note

def go_on():
    labels = window.findChildren(QLabel)
    heights.add(labels[1].y())
    print(labels[0].text(), "|", labels[2].text())
    window.findChildren(QPushButton)[-1].click()

for moment in (100, 1500, 3000):
    QTimer.singleShot(moment, go_on)
QTimer.singleShot(20_000, application.exit)
print(window.exec(), len((folder / "log").read_text().splitlines()), len(heights))
"""


def test_it_tells_what_went_wrong_pauses_and_ends_when_it_is_done(tmp_path: Path) -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(LAUNCHER)}
    command = [sys.executable, "-c", WINDOW, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "One download, then upscaler is ready | ",
        "That did not work | There is no network.",
        "Paused | What was downloaded is kept.",
        "1 2400 1",  # and the text has stayed where it was
    ]


PROGRAM = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[1])
with (folder / "started").open("a") as stream:
    print(*sys.argv[2:], file=stream)
while not (folder / "end").exists():
    time.sleep(0.05)
sys.exit(3)
"""
OPENING = """
import sys
from pathlib import Path
from PySide6.QtCore import QCoreApplication, QTimer, QUrl
from PySide6.QtGui import QFileOpenEvent
from upscaler_launcher import main
from upscaler_launcher.window import application

program, folder = sys.argv[1], Path(sys.argv[2])
sys.platform = "darwin"

def send(*names):
    for name in names:
        QCoreApplication.postEvent(application(), QFileOpenEvent(QUrl.fromLocalFile(name)))

application()
send("/a b.png", "/b.png")  # what it was started for
QTimer.singleShot(1500, lambda: send("/c.png"))
QTimer.singleShot(2500, lambda: (folder / "end").touch())
print(main._run([sys.executable, "-c", program, str(folder), "given"], False))
"""


def test_files_that_macos_sends_reach_the_program_before_and_after_its_start(tmp_path: Path) -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(LAUNCHER)}
    command = [sys.executable, "-c", OPENING, PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "3\n", done.stderr
    assert (tmp_path / "started").read_text().splitlines() == ["given /a b.png /b.png", "given /c.png"]
