"""Events on a terminal: one progress bar with the time left on stderr, or one JSON object a line on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import UpscalerError
from ..events import Event, Finished, Notice, Progress
from ..forecast import Forecast
from ..options.settings import with_names
from ..text import duration


def complain(error: UpscalerError) -> None:
    """Say on stderr what went wrong, in one line."""
    print(f"upscaler: {in_flags(error)}", file=sys.stderr)


def in_flags(error: UpscalerError) -> str:
    """The message of an error, which calls settings by their flags."""
    return with_names(str(error), lambda option: option.spec.flags[0])


class Display:
    """Shows the events of one run."""

    def __init__(self, forecast: Forecast, *, quiet: bool, verbose: bool, lines: bool) -> None:
        """`lines` prints JSON instead of a bar; `quiet` shows neither a bar nor notices."""
        self._forecast = forecast
        self._quiet = quiet
        self._verbose = verbose
        self._lines = lines
        self._bars: Any = None
        self._bar: Any = None

    def __enter__(self) -> Display:
        if not (self._quiet or self._lines):
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description:13}"),
                BarColumn(bar_width=20),  # so that all of a line fits into 80 columns
                TaskProgressColumn(),
                TextColumn("{task.fields[more]}"),
                console=Console(stderr=True),
            )
            self._bars.start()
            self._bar = self._bars.add_task("Starting", total=1.0, more=self._time_left())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, event: Event) -> None:
        """Show progress or a notice; a `Finished` is shown by `finished`, once its file is written."""
        if isinstance(event, Finished):
            if self._bars is not None:
                self._bars.update(self._bar, completed=1.0, description="Saving", more="")
            return
        if isinstance(event, Progress):
            self._forecast.note(event)
        if self._lines:
            print(json.dumps(self._line(event)), flush=True)
        elif isinstance(event, Notice):
            if not self._quiet:
                self._say(f"note: {event.message}")
        elif self._bars is not None:
            self._progress(event)

    def finished(self, event: Finished, output: Path, extra: list[Path]) -> None:
        """Print where the result is, and with `verbose` how visible the joints are and how long each stage took."""
        if self._lines:
            print(
                json.dumps({**_plain(event), "output": str(output), "extra": [str(path) for path in extra]}), flush=True
            )
            return
        if self._bars is not None:
            self._bars.update(self._bar, description="Done", more=f"in {duration(sum(event.seconds.values()))}")
            self._bars.stop()
        seams = event.seams
        if seams is not None and self._verbose and seams.before.joints:
            self._say(
                f"seams: worst {seams.after.worst:.2f}/255, mean {seams.after.mean:.2f} (inside tiles {seams.after.inside:.2f})"
                + (
                    f"; before {seams.redrawn} pieces were redrawn: worst {seams.before.worst:.2f}, mean {seams.before.mean:.2f}"
                    if seams.redrawn
                    else ""
                )
            )
        if self._verbose:
            self._say("seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in event.seconds.items()))
        for path in (output, *extra):
            print(path, flush=True)

    def _progress(self, event: Progress) -> None:
        tile = f"tile {min(event.done + 1, event.total)} of {event.total}" if event.total > 1 else ""
        more = ", ".join(filter(None, (self._time_left(), tile)))
        self._bars.update(self._bar, completed=self._forecast.fraction, description=event.stage.label, more=more)

    def _time_left(self) -> str:
        return f"about {duration(self._forecast.left)} left"

    def _line(self, event: Progress | Notice) -> dict[str, Any]:
        """An event for `--json`; of the whole run, `overall` is finished and `seconds_left` are still needed."""
        whole = {"overall": round(self._forecast.fraction, 4), "seconds_left": round(self._forecast.left, 1)}
        return {**_plain(event), **(whole if isinstance(event, Progress) else {})}

    def _say(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _plain(event: Event) -> dict[str, Any]:
    if isinstance(event, Notice):
        return {"event": "notice", "message": event.message}
    if isinstance(event, Progress):
        return {
            "event": "progress",
            "stage": event.stage.value,
            "done": event.done,
            "total": event.total,
            "step": event.step,
            "steps": event.steps,
            "fraction": round(event.fraction, 4),
            "boxes": [list(box) for box in event.boxes],
        }
    seams = event.seams
    return {
        "event": "finished",
        "size": list(event.picture.size),
        "seconds": {stage.value: round(seconds, 3) for stage, seconds in event.seconds.items()},
        "seams": None
        if seams is None
        else {
            "redrawn": seams.redrawn,
            **{
                name: {"worst": score.worst, "mean": score.mean, "inside": score.inside}
                for name, score in (("before", seams.before), ("after", seams.after))
            },
        },
        "settings": event.settings.to_dict(),
    }
