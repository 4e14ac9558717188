"""The window of the first start and of updates: what will be downloaded, how far it is, pause, and what went wrong."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue

from PySide6.QtCore import Qt, QTimer, QUrl
from PySide6.QtGui import QCloseEvent, QDesktopServices, QIcon
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
)

from .building import Builder, BuildError, Stopped
from .opening import Application
from .progress import Meter, in_words

_EACH = 1500  # milliseconds between two looks at the progress
_SOON = 100  # milliseconds until the window hears what its thread has said
ICON = Path(__file__).parent / "resources" / "upscaler.svg"


class SetupWindow(QDialog):
    """Asks, builds in a thread of its own, and shows it; accepted when the environment is complete.

    Args:
        update: another environment is there, which can be used in the meantime.
        log: a file that everything is noted in.
    """

    def __init__(self, builder: Builder, log: Path, *, update: bool) -> None:
        super().__init__()
        self._builder = builder
        self._log = log
        self._update = update
        self._news: SimpleQueue[Callable[[], None]] = SimpleQueue()  # no signals: see `upscaler_ui.desktop`
        self._working = False
        self._closing = False
        root = builder.environments.root
        self._meter = Meter((root / "cache", root / "python", root / "environments"), builder.recipe.disk)
        self.setWindowTitle("Update upscaler" if update else "Set up upscaler")
        self.setMinimumWidth(520)
        self._make()
        self._ears = QTimer(self)
        self._ears.timeout.connect(self._hear)
        self._ears.start(_SOON)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self._ask()

    def note(self, line: str) -> None:
        """Take a line of the builder, in whatever thread."""
        self._news.put(partial(self._noted, line))

    def _hear(self) -> None:
        while not self._news.empty():
            self._news.get()()

    def _make(self) -> None:
        self._head = QLabel()
        font = self._head.font()
        font.setPointSizeF(font.pointSizeF() * 1.4)
        font.setBold(True)
        self._head.setFont(font)
        self._text = QLabel()
        self._bar = QProgressBar()
        self._bar.setRange(0, 0 if self._update else 1000)  # nobody knows how much of an update is here already
        policy = self._bar.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # or the text above would be cut when it comes
        self._bar.setSizePolicy(policy)
        self._bar.setFormat("%p%")
        self._line = QLabel()
        for label in (self._head, self._text, self._line):
            label.setWordWrap(True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._first = QPushButton()
        self._first.setDefault(True)
        self._first.clicked.connect(self._press)
        self._show_log = QPushButton("Show &log")
        self._show_log.clicked.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._log))))
        self._second = QPushButton("&Later" if self._update else "&Quit")
        self._second.clicked.connect(self.close)
        buttons = QHBoxLayout()
        buttons.addWidget(self._show_log)
        buttons.addStretch()
        buttons.addWidget(self._second)
        buttons.addWidget(self._first)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 22, 24, 20)
        layout.setSpacing(12)
        for widget in (self._head, self._text, self._bar, self._line):
            layout.addWidget(widget)
        layout.addStretch(1)  # or the labels would share what is left over, and jump when it changes
        layout.addLayout(buttons)

    def _ask(self) -> None:
        recipe = self._builder.recipe
        self._head.setText(
            f"Update to upscaler {recipe.version}" if self._update else "One download, then upscaler is ready"
        )
        if self._update:
            what = f"Only what has changed is fetched, at most {_gigabytes(recipe.download)}, to"
            promise = "The version that you have stays until the new one has started once."
        else:
            what = (
                f"The engine that enlarges your pictures is about {_gigabytes(recipe.download)} to download, and takes "
                f"{_gigabytes(recipe.disk)} on the disk, in"
            )
            promise = "Your pictures never leave this computer."
        self._text.setText(f"{what}<br><code>{self._builder.environments.root}</code><br><br>{promise}")
        self._buttons("&Update" if self._update else "&Download", working=False)
        self._line.setText("")
        self._show_log.hide()

    def _buttons(self, text: str, *, working: bool) -> None:
        self._working = working
        self._first.setText(text)
        self._first.setEnabled(True)
        self._bar.setVisible(working or self._bar.value() > 0)
        self._first.setFocus()
        self.adjustSize()

    def _press(self) -> None:
        if self._working:
            self._first.setEnabled(False)
            self._line.setText("Pausing…")
            self._builder.stop()
            return
        self._head.setText("Updating upscaler" if self._update else "Setting up upscaler")
        self._bar.setVisible(True)
        self._show_log.hide()
        self._line.setText("Starting…")
        self._buttons("&Pause", working=True)
        if not self._update:
            self._timer.start(_EACH)
        threading.Thread(target=self._build, daemon=True).start()

    def _build(self) -> None:
        try:
            self._builder.build()
        except Stopped:
            self._news.put(self._paused)
        except BuildError as error:
            self._news.put(partial(self._failed, str(error)))
        except Exception as error:  # a mistake of ours has to be seen too
            self._news.put(partial(self._failed, f"An unexpected error occurred: {error!r}."))
        else:
            self._news.put(self.accept)

    def _look(self) -> None:
        fraction, left = self._meter.look()
        self._bar.setValue(max(int(1000 * fraction), self._bar.value()))
        step = self._line.text().split(" · ")[0]
        self._line.setText(f"{step} · {in_words(left)} left" if left is not None and fraction < 0.98 else step)

    def _noted(self, line: str) -> None:
        with self._log.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        if line.endswith("…") and self._first.isEnabled():
            self._line.setText(line)

    def _paused(self) -> None:
        self._timer.stop()
        self._meter.pause()
        self._head.setText("Paused")
        self._line.setText("What was downloaded is kept.")
        self._buttons("&Resume", working=False)
        if self._closing:
            self.reject()

    def _failed(self, sentences: str) -> None:
        self._timer.stop()
        self._meter.pause()
        self._head.setText("That did not work")
        self._line.setText(sentences)
        self._show_log.show()
        self._buttons("&Try again", working=False)
        if self._closing:
            self.reject()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Closing during the work is a pause: the next start goes on."""
        if self._working and not self._closing:
            self._closing = True
            self._builder.stop()
            self._first.setEnabled(False)
            self._line.setText("Pausing…")
        if self._working:
            event.ignore()
        else:
            self.reject()

    def reject(self) -> None:
        """Escape closes like the frame does."""
        if self._working:
            self.close()
        else:
            super().reject()


def _gigabytes(bytes: int) -> str:
    return f"{bytes / 1e9:.1f}\N{NO-BREAK SPACE}GB"


def set_up(builder: Builder, log: Path, *, update: bool) -> bool:
    """Show the window; whether the environment is complete now."""
    application()
    window = SetupWindow(builder, log, update=update)
    builder.note = window.note
    return window.exec() == QDialog.DialogCode.Accepted


def tell(title: str, text: str) -> None:
    """A message in a window of its own."""
    application()
    QMessageBox.warning(None, title, text)


def ask(title: str, text: str, yes: str, no: str) -> bool:
    """A question with two answers; the second one is the usual."""
    application()
    box = QMessageBox(QMessageBox.Icon.Question, title, text)
    wanted = box.addButton(yes, QMessageBox.ButtonRole.DestructiveRole)
    box.setDefaultButton(box.addButton(no, QMessageBox.ButtonRole.RejectRole))
    box.exec()
    return box.clickedButton() is wanted


@cache
def application() -> Application:
    """The one that all windows need, kept as long as the process."""
    application = Application(sys.argv[:1])
    application.setQuitOnLastWindowClosed(False)
    application.setApplicationName("upscaler")
    application.setDesktopFileName("upscaler")
    application.setWindowIcon(QIcon(str(ICON)))
    application.setStyle("Fusion")
    return application
