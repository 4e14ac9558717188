"""`upscaler mcp`: the engine as tools for a language model, over standard input and output (Model Context Protocol).

Pictures are read and written inside the folders that the user allows, and nowhere else. Models are given by name, so that
nothing is loaded from a path or fetched from the network because a model asked for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from upscaler import __version__, api, planning, timing, weights
from upscaler.describe import model_values, plan_headline, plan_values
from upscaler.errors import ImageError, SettingsError, UpscalerError
from upscaler.events import Notice, Progress
from upscaler.forecast import Forecast
from upscaler.options import presets
from upscaler.options.settings import Settings, options, with_names
from upscaler.pictures.files import check_output, load, save, suffix_of

_INSTRUCTIONS = (
    "Enlarges pictures by super-resolution and tiled diffusion. Call `plan` first for large pictures: it says how long "
    "`upscale` would take. Presets: photo, art, anime (line art), texture, faithful, fast."
)
_MODELS = {"gan": "gan", "model": "diffusion", "control": "control", "face_model": "face"}
_REFUSED = {"overwrite", "max_pixels"}
"""Options that stay the user's: what is written over, and how much memory a picture may take."""


def serve(folders: Sequence[Path]) -> None:
    """Answer on standard input and output until it is closed.

    Raises:
        SettingsError: a folder does not exist.
    """
    make_server(folders).run("stdio")


def make_server(folders: Sequence[Path]) -> MCPServer:
    """The server with its tools. Raises: as `serve`."""
    tools = _Tools([_existing(folder) for folder in folders])
    server = MCPServer("upscaler", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING")
    for tool in (tools.plan, tools.upscale, tools.models):
        server.tool()(tool)
    return server


class _Tools:
    """What a language model can call; it reads their docstrings."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._one = asyncio.Lock()  # a machine has one set of networks at work

    async def plan(
        self, path: str, preset: str = "photo", scale: float | None = None, options: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Say what enlarging a picture would do: size of the result, tiles, memory in bytes, and seconds.

        Args:
            path: of the picture, inside an allowed folder.
            preset: photo, art, anime, texture, faithful, fast, or one of the user's.
            scale: 0.5 to 16; 4 if left out.
            options: further options by their names on the command line, with underscores: width, height, strength, ...
        """
        return await asyncio.to_thread(_told, lambda: self._plan(path, preset, scale, options))

    async def upscale(
        self,
        path: str,
        context: Context,
        output: str = "",
        preset: str = "photo",
        scale: float | None = None,
        options: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Enlarge a picture, and return where the result is. It never replaces a file.

        Args:
            path: of the picture, inside an allowed folder.
            output: file for the result, inside an allowed folder; NAME-large beside the picture if left out.
            preset, scale, options: as for plan.
        """
        loop = asyncio.get_running_loop()

        def report(done: float, left: float, what: str) -> None:
            message = f"{what}, about {left:.0f} s left"
            asyncio.run_coroutine_threadsafe(context.report_progress(done, 1.0, message), loop)

        async with self._one:
            return await asyncio.to_thread(
                _told, lambda: self._upscale(path, output, self._settings(preset, scale, options), report)
            )

    async def models(self) -> list[dict[str, Any]]:
        """List the installed models: name, kind (gan, diffusion, control or face), scale, size in bytes and licence."""
        return [model_values(model) for model in weights.models()]

    def _plan(self, path: str, preset: str, scale: float | None, options: dict[str, Any] | None) -> dict[str, Any]:
        settings = self._settings(preset, scale, options)
        plan = planning.plan(self._inside(path), settings)
        seconds = timing.estimate(plan, settings)
        return {"summary": plan_headline(plan, seconds), **plan_values(plan, seconds)}

    def _upscale(
        self, path: str, output: str, settings: Settings, report: Callable[[float, float, str], None]
    ) -> dict[str, Any]:
        source = self._inside(path)
        picture = load(source, max_pixels=settings.output.pixel_limit)
        place = self._inside(output) if output else _free(source, suffix_of(settings.output.format))
        out: dict[str, Any] = {**settings.output.for_save, "overwrite": False}
        plan = planning.plan(picture, settings)
        check_output(place, plan.target, format=out["format"], bit_depth=out["bit_depth"])
        forecast, notices = Forecast(timing.expected(plan, settings)), list[str]()
        for event in api.run(picture, settings):
            if isinstance(event, Progress):
                forecast.note(event)
                report(forecast.fraction, forecast.left, event.stage.label)
            elif isinstance(event, Notice):
                notices.append(event.message)
            else:
                timing.learn(plan, settings, event.seconds)
                notices += save(event.picture, place, settings_json=settings.to_json(), **out)
                return {
                    "output": str(place),
                    "size": list(event.picture.size),
                    "seconds": round(sum(event.seconds.values()), 1),
                    "notices": notices,
                }
        raise AssertionError("a run ends with Finished")

    def _settings(self, preset: str, scale: float | None, given: dict[str, Any] | None) -> Settings:
        values = {**(given or {}), **({} if scale is None else {"scale": scale})}
        for name in _REFUSED & values.keys():
            raise SettingsError(f"{name}: cannot be set by a program; leave it out")
        settings = presets.get(preset).over(Settings()).but(**values)
        names = {option.name: option for option in options()}
        for name, kind in _MODELS.items():
            if kind == "face" and settings.faces.strength == 0:
                continue
            value = settings.value(names[name])
            known = [model.name for model in weights.models() if model.kind == kind]
            if value not in (*known, "none"):
                raise SettingsError(f"{name}: no model {value!r} is installed; call models to list those that are")
        return settings

    def _inside(self, path: str) -> Path:
        """The path, links followed, if it lies in an allowed folder; a relative one is looked for in the first."""
        found = (self._folders[0] / path).resolve()
        if any(found.is_relative_to(folder) for folder in self._folders):
            return found
        allowed = ", ".join(map(str, self._folders))
        raise ImageError(f"{path}: lies outside the allowed folders; name a file in {allowed}")


def _told(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a call returns; what goes wrong in it is told by option names."""
    try:
        return call()
    except UpscalerError as error:
        raise ToolError(with_names(str(error), lambda option: option.name)) from error


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise SettingsError(f"--folder {folder}: is not a folder; name one that exists")
    return folder.resolve()


def _free(source: Path, suffix: str) -> Path:
    """A name beside the source that no file has."""
    stem = re.sub(r"-large(-\d+)?$", "", source.stem)
    place, number = source.with_name(f"{stem}-large{suffix}"), 2
    while place.exists():
        place, number = source.with_name(f"{stem}-large-{number}{suffix}"), number + 1
    return place
