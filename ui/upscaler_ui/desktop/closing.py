"""Ends: the window is closed during a run, the server's process dies, or an earlier start has left something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QApplication, QMessageBox

from upscaler.text import count

if TYPE_CHECKING:
    from .window import Window

Role = QMessageBox.ButtonRole


class Closing(QObject):
    """What remains to be done before the program ends."""

    def __init__(self, window: Window) -> None:
        super().__init__(window)
        self._window = window
        self._stopping = False
        self._background = False
        self._ended = False

    def asked(self, event: QCloseEvent) -> None:
        """The window is to be closed: at once, or after what its user says about the run."""
        if self._ended:
            event.accept()
            return
        event.ignore()
        if self._stopping:  # closed once more: nobody wants to wait for the step
            self.end_now()
            return
        if not self._window.state["busy"]:
            self.end_now()
            return
        self._ask()

    def _ask(self) -> None:
        window = self._window
        box = QMessageBox(QMessageBox.Icon.Question, "Close upscaler", _work(window.state), parent=window)
        box.setInformativeText(
            "If you stop now, what is finished is kept in the history, and the rest can be continued at the next start."
        )
        stop = box.addButton("&Stop and keep what is finished", Role.DestructiveRole)
        paused = window.state["paused"]
        go_on = box.addButton(f"&{'Resume' if paused else 'Keep running'} in the background", Role.AcceptRole)
        cancel = box.addButton("&Cancel", Role.RejectRole)
        box.setDefaultButton(go_on)
        box.setEscapeButton(cancel)
        box.exec()
        if box.clickedButton() is stop:
            self._stop()
        elif box.clickedButton() is go_on:
            self._go_on()

    def _stop(self) -> None:
        if not self._window.state["busy"]:  # it was finished while the question was open
            self.end_now()
            return
        self._stopping = True
        self._window.splash("Stopping after this step, and keeping what is finished…", working=True)
        self._window.server.call("leave")

    def _go_on(self) -> None:
        window = self._window
        if not window.state["busy"]:
            self.end_now()
            return
        self._background = True
        window.server.call("go_on")
        window.remember()
        window.notifier.tray.show()
        window.hide()
        window.notifier.tell(
            "upscaler keeps running", "Open it again to see the window; it ends by itself when the work is done."
        )

    def stay(self) -> None:
        """The window was called back."""
        self._background = False

    def state_changed(self) -> None:
        """The jobs have changed; with the last one over, what was waiting for that happens."""
        if not self._window.state["busy"] and (self._stopping or self._background):
            self.end_now()

    def server_died(self, cause: str) -> None:
        """The server's process has ended by itself: say so, and offer to start it again."""
        window = self._window
        if self._stopping:
            self.end_now()
            return
        window.bring_to_front()
        box = QMessageBox(
            QMessageBox.Icon.Critical, "Something went wrong", "upscaler has stopped working.", parent=window
        )
        box.setInformativeText(f"Its worker process has ended ({cause}). Results are kept, and so is the queue.")
        again = box.addButton("&Start again", Role.AcceptRole)
        log = box.addButton("Show &log", Role.ActionRole)
        box.addButton("&Quit", Role.RejectRole)
        box.setDefaultButton(again)
        box.exec()
        if box.clickedButton() is again:
            self._resume = True
            window.splash("Starting again…", working=True)
            window.server.start()
        elif box.clickedButton() is log:
            window.actions_.show_log()
            self.server_died(cause)
        else:
            self.end_now()

    _resume = False

    def offer_to_go_on(self, left: int) -> None:
        """The server has started, and an earlier one has left so many pictures: go on with them, now or if wanted."""
        window = self._window
        again, self._resume = self._resume, False
        if not left:
            return
        if again:
            window.server.call("resume", lambda _: window.look())
            return
        text = f"{count(left, 'picture')} from last time {'is' if left == 1 else 'are'} not finished."
        box = QMessageBox(QMessageBox.Icon.Question, "Unfinished pictures", text, parent=window)
        box.setInformativeText("Continue with the same settings?")
        go_on = box.addButton("&Continue", Role.AcceptRole)
        forget = box.addButton("&Forget it" if left == 1 else "&Forget them", Role.DestructiveRole)
        box.addButton("&Later", Role.RejectRole)
        box.setDefaultButton(go_on)

        def answered(*_: object) -> None:
            if box.clickedButton() is go_on:
                window.server.call("resume", lambda _: window.look())
            elif box.clickedButton() is forget:
                window.server.call("forget")

        box.finished.connect(answered)
        box.open()

    def end_now(self) -> None:
        """Keep what the window remembers, let the server end, and end the program."""
        window = self._window
        self._ended = True
        if window.isVisible():
            window.remember()
        window.hide()
        window.notifier.tray.hide()
        window.server.end()
        QApplication.quit()


def _work(state: dict[str, object]) -> str:
    busy = state["busy"]
    assert isinstance(busy, int)
    doing = "being enlarged" if not state["paused"] else "paused"
    if busy == 1:
        return f"{state['name'] or 'A picture'} is {doing}."
    return f"{count(busy, 'picture')} are {doing}."
