"""The sessions of all users, and the pages of all browsers."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .exchange import Exchange
from .fetches import Fetches
from .jobs import Worker
from .page import Page
from .results import file_name
from .session import Session

KEPT_PAGES = 200


class Sessions:
    """The sessions of all users and the pages of all browsers, with the worker that they share.

    Args:
        folder: where histories are kept; `None` forgets each page's with the page, for a server without a login.
        make: what a session is.
    """

    def __init__(
        self, folder: Path | None, worker: Worker, make: Callable[[Path, Path, Worker], Session] = Session
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="upscaler-", ignore_cleanup_errors=True)
        self.scratch = Path(self._temporary.name)
        self.folder = folder or self.scratch / "history"
        self.public = folder is None
        self.worker = worker
        self.fetches = Fetches()
        self._make = make
        self._sessions: dict[str, Session] = {}
        self._pages: dict[str, Page] = {}
        self._lock = threading.Lock()
        self.exchange = Exchange(self.scratch, self._looked_at)
        self.exchange.keep_clean(self.forget_callers)

    def session(self, user: str | None, page: str) -> Session:
        """The session of a user, or of a page where nobody logs in."""
        owner = file_name(page if self.public else user or "local")
        with self._lock:
            if owner not in self._sessions:
                self._sessions[owner] = self._make(self.folder / owner, self.scratch, self.worker)
            return self._sessions[owner]

    def page(self, id: str) -> Page:
        """What the page of that id looks at."""
        with self._lock:
            page = self._pages.pop(id, None) or Page()
            self._pages[id] = page  # the newest last
            for old in list(self._pages)[:-KEPT_PAGES]:
                if not self._pages[old].busy:
                    del self._pages[old]
                    if self.public:
                        self._sessions.pop(file_name(old), None)
                        shutil.rmtree(self.folder / file_name(old), ignore_errors=True)
            return page

    def health(self) -> dict[str, Any]:
        """Whether the app can do its work, and how many jobs there are."""
        running, waiting = self.worker.load
        return {"status": "ok" if self.worker.works else "broken", "running": running, "waiting": waiting}

    def forget_callers(self) -> None:
        """Drop the sessions of programs that have no job any more, where each caller has one of its own."""
        with self._lock:
            pages = {file_name(page) for page in self._pages}
            for owner, session in list(self._sessions.items()):
                if self.public and owner not in pages and not session.busy:
                    del self._sessions[owner]
                    shutil.rmtree(self.folder / owner, ignore_errors=True)

    def _looked_at(self) -> set[Path]:
        with self._lock:
            return {item.path for page in self._pages.values() for item in page.inputs}

    def close(self) -> None:
        """Stop all jobs, keep what they finished, and drop what was only scratch."""
        self.exchange.close()
        self.fetches.close()
        self.worker.close()
        for session in self._sessions.values():
            session.drafts.close()
        self._temporary.cleanup()
