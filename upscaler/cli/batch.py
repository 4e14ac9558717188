"""`upscaler run` over many pictures: each on its own, the finished ones skipped, a failed one reported and passed over."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from .. import timing
from ..batch import Arrivals, Job, Manifest, State, find_jobs, name_results
from ..errors import MACHINE, Cancelled, ImageError, UpscalerError, ours
from ..options.settings import Settings
from ..pictures.files import suffix_of
from ..pictures.picture import Picture
from ..planning import plan
from ..text import count, duration, one_line
from .one import Models, checked, finish_off, make_folder, run_one
from .terminal import complain, in_flags

_POLL = 1.0  # seconds between two looks into a watched folder
_AHEAD = 100_000_000  # pixels of a picture above which the next one is not decoded beside it


@dataclass
class _Outcomes:
    """What became of the pictures, by their files, in their order."""

    pictures: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    def add(self, job: Job, state: str, **more: Any) -> None:
        self.pictures[str(job.source)] = {"input": str(job.source), "state": state, **more}

    def of(self, *states: str) -> list[dict[str, Any]]:
        return [picture for picture in self.pictures.values() if picture["state"] in states]


def run_batch(parsed: argparse.Namespace, settings: Settings, jobs: Sequence[Job]) -> int:
    """Enlarge the pictures; with `--watch` also those that come later, until Ctrl-C. Returns 1 if some failed."""
    with Models(settings, parsed.workers) as models:
        return _run_all(parsed, _Batch(parsed, settings, models), jobs)


def _run_all(parsed: argparse.Namespace, batch: _Batch, jobs: Sequence[Job]) -> int:
    try:
        batch.run(jobs)
        if parsed.watch:
            batch.watch()
    except (KeyboardInterrupt, Cancelled) as error:
        if isinstance(error, Cancelled):
            complain(error)
        batch.summarise()
        return 0 if parsed.watch and isinstance(error, KeyboardInterrupt) else Cancelled.exit_code
    batch.summarise()
    return int(bool(batch.outcomes.of("failed", "failed before")))


class _Batch:
    """The state of a batch: its models, once they are loaded, its manifest, and what became of its pictures."""

    def __init__(self, parsed: argparse.Namespace, settings: Settings, models: Models) -> None:
        self.parsed, self.settings = parsed, settings
        self.models = models
        self.folder = None if parsed.output is None else Path(parsed.output)
        if self.folder is not None:
            make_folder(self.folder)
        first = Path(parsed.input[0])
        self.manifest = Manifest(self.folder or (first if first.is_dir() else first.parent))
        self.outcomes = _Outcomes()
        self._arrivals = Arrivals()
        self._seconds: dict[Path, float] = {}

    def run(self, jobs: Sequence[Job]) -> None:
        """Enlarge some pictures, and remember which they were."""
        results = self._results(jobs)
        self._arrivals.know(jobs)
        waiting = [(job, output) for job, output in results.items() if self._is_wanted(job, output)]
        with ThreadPoolExecutor(1, thread_name_prefix="decode") as decoder:
            ahead: Future[Picture] | None = None
            for index, (job, output) in enumerate(waiting):
                self._head(job, waiting[index:], of=len(waiting))
                decoded = ahead or decoder.submit(self._checked, job, output)
                ahead = None
                start = time.monotonic()
                try:
                    picture = decoded.result()
                    if index + 1 < len(waiting) and picture.size.width * picture.size.height <= _AHEAD:
                        ahead = decoder.submit(self._checked, *waiting[index + 1])
                    run_one(picture, output, self.settings, self.models, self.parsed)
                except Cancelled:
                    raise
                except (UpscalerError, *MACHINE) as error:
                    complain(ours(error))
                    self._mark(job, "failed", output, error=in_flags(ours(error)))
                else:
                    self._mark(job, "done", output, seconds=time.monotonic() - start)

    def watch(self) -> NoReturn:
        """Enlarge what comes into the folders, until Ctrl-C."""
        while True:
            time.sleep(_POLL)
            with suppress(ImageError):  # there is nothing yet
                there = find_jobs(self.parsed.input, recursive=self.parsed.recursive)
                if arrived := self._arrivals.look(job for job in there if not self.manifest.made(job.source)):
                    self.run(arrived)

    def _checked(self, job: Job, output: Path) -> Picture:
        if self.folder is not None:
            make_folder(output.parent)
        return checked(job.source, output, self.settings, self.parsed)

    def _results(self, jobs: Sequence[Job]) -> dict[Job, Path]:
        """Where the results go; pictures that are results of others are left out."""
        named = name_results(jobs, f"-large{suffix_of(self.settings.output.format)}")
        results = {
            job: job.source.with_name(result.name) if self.folder is None else self.folder / result
            for job, result in named.items()
        }
        outputs = {output.absolute() for output in results.values()}
        return {
            job: output
            for job, output in results.items()
            if job.source.absolute() not in outputs and not self.manifest.made(job.source)
        }

    def _is_wanted(self, job: Job, output: Path) -> bool:
        """Whether a picture is to be enlarged; if not, what is said of it."""
        if self.settings.output.overwrite:
            return True
        state = self.manifest.state(job, output)
        if state == "failed" and not self.parsed.retry_failed:
            self.outcomes.add(job, "failed before", error=self.manifest.error(output))
            return False
        if output.exists():
            finish_off(output)
            self.outcomes.add(job, "skipped", output=str(output))
            return False
        return True

    def _mark(self, job: Job, state: State, output: Path, **more: Any) -> None:
        self.outcomes.add(job, state, **more, **({"output": str(output)} if state == "done" else {}))
        try:
            self.manifest.mark(job, state, output, **more)
        except OSError as error:
            raise ImageError(f"{self.folder}: the manifest cannot be written ({one_line(error)})") from error

    def _head(self, job: Job, waiting: Sequence[tuple[Job, Path]], *, of: int) -> None:
        """Say which picture is next, and how long all take that are left."""
        number = of - len(waiting) + 1
        left = self._seconds_left(waiting)
        if self.parsed.json:
            print(json.dumps({"event": "picture", "input": str(job.source), "number": number, "of": of, "left": left}))
        elif not self.parsed.quiet and of > 1:
            print(f"[{number}/{of}] {job.name}; about {duration(left)} left in all", file=sys.stderr)

    def _seconds_left(self, waiting: Sequence[tuple[Job, Path]]) -> float:
        """What is expected of each, in the measure in which those before it took longer or shorter."""
        done = self.outcomes.of("done")
        expected = sum(self._expected(Path(picture["input"])) for picture in done)
        pace = sum(picture["seconds"] for picture in done) / expected if expected else 1.0
        return pace * sum(self._expected(job.source) for job, _ in waiting)

    def _expected(self, source: Path) -> float:
        """Seconds that a picture takes; its file is looked at once. 0 for one that cannot be read."""
        if source not in self._seconds:
            self._seconds[source] = 0.0
            with suppress(UpscalerError):  # it will be reported when its turn comes
                self._seconds[source] = timing.estimate(plan(source, self.settings), self.settings)
        return self._seconds[source]

    def summarise(self) -> None:
        """Say what became of all pictures."""
        outcomes = self.outcomes
        if self.parsed.json:
            print(json.dumps({"event": "summary", "pictures": list(outcomes.pictures.values())}), flush=True)
            return
        done, skipped, failed = outcomes.of("done"), outcomes.of("skipped"), outcomes.of("failed", "failed before")
        if not self.parsed.quiet:
            parts = [f"{len(done)} enlarged", f"{len(skipped)} skipped (already finished)", f"{len(failed)} failed"]
            print(f"{count(len(outcomes.pictures), 'picture')}: {', '.join(parts)}", file=sys.stderr)
        for picture in outcomes.of("failed before"):
            print(f"  failed last time, --retry-failed tries it again: {picture['error']}", file=sys.stderr)
