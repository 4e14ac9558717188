"""The menu, with the usual shortcuts of each system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QActionGroup, QColor, QGuiApplication, QKeySequence, QPalette
from PySide6.QtWidgets import QApplication, QMenu, QMessageBox

from upscaler import __version__

if TYPE_CHECKING:
    from .window import Window

Shortcut = QKeySequence | QKeySequence.StandardKey | str | None
_SCHEMES = {"system": Qt.ColorScheme.Unknown, "light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}


def add_menus(window: Window) -> None:
    """Fill the menu bar of the window."""
    keys = QKeySequence.StandardKey
    actions = window.actions_
    file = window.menuBar().addMenu("&File")
    _add(file, "&Open…", actions.open, keys.Open)
    _add(file, "Open &Folder…", actions.open_folder, "Ctrl+Shift+O")
    recent = file.addMenu("Open &Recent")
    recent.aboutToShow.connect(lambda: _fill_recent(window, recent))
    file.addSeparator()
    _add(file, "Save &As…", actions.save_as, keys.SaveAs if _has(keys.SaveAs) else "Ctrl+Shift+S")
    _add(file, "Show in Fol&der", actions.reveal, "Ctrl+Shift+R")
    _add(file, "&Copy Picture", actions.copy, "Ctrl+Shift+C")
    _add(file, "&Where Results Go…", actions.choose_place)
    watch = _add(file, "Watch Fo&lder…", actions.watch)
    file.aboutToShow.connect(lambda: watch.setText(_watching(window)))
    file.addSeparator()
    _add(file, "Close &Window", window.close, keys.Close if _has(keys.Close) else "Ctrl+W")
    quit_action = _add(file, "&Quit", window.close, keys.Quit if _has(keys.Quit) else "Ctrl+Q")
    quit_action.setMenuRole(QAction.MenuRole.QuitRole)

    run = window.menuBar().addMenu("&Run")
    _add(run, "&Upscale", lambda: window.press("run"), "Ctrl+Return")
    pause = _add(run, "&Pause", lambda: window.press("pause"), "Ctrl+Shift+P")
    run.aboutToShow.connect(lambda: pause.setText("&Resume" if window.state["paused"] else "&Pause"))
    _add(run, "&Stop", lambda: window.press("stop"), "Ctrl+.")

    view = window.menuBar().addMenu("&View")
    _add(view, "&Models", lambda: window.press("models-open"))
    view.addSeparator()
    _add(view, "Zoom &In", lambda: window.zoom_by(1.1), keys.ZoomIn)
    _add(view, "Zoom &Out", lambda: window.zoom_by(1 / 1.1), keys.ZoomOut)
    _add(view, "&Actual Size", lambda: window.zoom_by(0), "Ctrl+0")
    _add(view, "&Full Screen", window.toggle_full_screen, keys.FullScreen if _has(keys.FullScreen) else "F11")
    _add(view, "&Reload", window.load, keys.Refresh)
    _add_themes(window, view.addMenu("&Theme"))

    help = window.menuBar().addMenu("&Help")
    _add(help, "Show &Log", actions.show_log)
    _add(help, "&About upscaler", lambda: QMessageBox.about(window, "upscaler", _about()))


def apply_theme(name: str) -> bool:
    """Draw the window in that theme: system, light or dark; returns whether that is a dark one."""
    hints = QGuiApplication.styleHints()
    hints.setColorScheme(_SCHEMES[name])
    known = hints.colorScheme() is Qt.ColorScheme.Dark
    QApplication.setPalette(_dark() if name == "dark" and not known else QPalette())
    return known or name == "dark"


def _dark() -> QPalette:
    """For a desktop that Qt does not know."""
    palette = QPalette(QColor("#27272a"), QColor("#18181b"))
    palette.setColor(QPalette.ColorRole.Base, QColor("#1f1f23"))
    palette.setColor(QPalette.ColorRole.AlternateBase, QColor("#27272a"))
    return palette


def _add(menu: QMenu, text: str, call: Callable[[], object], shortcut: Shortcut = None) -> QAction:
    action = menu.addAction(text)
    action.triggered.connect(lambda checked=False: call())
    if shortcut is not None:
        action.setShortcut(shortcut)
    return action


def _has(key: QKeySequence.StandardKey) -> bool:
    return bool(QKeySequence.keyBindings(key))


def _fill_recent(window: Window, menu: QMenu) -> None:
    menu.clear()
    for path in window.memory.recent:
        _add(menu, _short(path), lambda path=path: window.actions_.take([path]))
    if menu.isEmpty():
        menu.addAction("Nothing yet").setEnabled(False)
        return
    menu.addSeparator()
    _add(menu, "&Clear", window.memory.forget_recent)


def _watching(window: Window) -> str:
    watched = window.memory.watched
    return "Stop Watchin&g “{}”".format(watched[0].name.replace("&", "&&")) if watched else "Watch Fo&lder…"


def _short(path: Path) -> str:
    return f"{path.name}  ({path.parent})".replace("&", "&&")


def _add_themes(window: Window, menu: QMenu) -> None:
    group = QActionGroup(menu)
    for name, text in (("system", "Same as &System"), ("light", "&Light"), ("dark", "&Dark")):
        action = _add(menu, text, lambda name=name: _choose_theme(window, name))
        action.setCheckable(True)
        action.setChecked(window.memory.theme == name)
        group.addAction(action)


def _choose_theme(window: Window, name: str) -> None:
    window.memory.theme = name
    window.apply_theme()
    window.load()


def _about() -> str:
    return (
        f"<b>upscaler {__version__}</b><p>Makes pictures large, with real detail, no seams and the right colours.</p>"
    )
