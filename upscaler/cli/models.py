"""`upscaler models`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import families, places, weights
from ..describe import model_values
from ..errors import SettingsError
from ..models import manifest
from ..models.convert import convert
from ..models.fetch import OnBytes, fetch
from ..text import amount


def add_models(commands: Any) -> None:
    """The parser of the command."""
    parser = commands.add_parser(
        "models", help="list, fetch, verify, convert or locate models", description="List, fetch and locate models."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="list all models, including those of ComfyUI and the WebUIs")
    listed.add_argument("kind", nargs="?", choices=families.KINDS, help="only of this kind")
    listed.add_argument("--json", action="store_true", help="print one JSON object per line")
    actions.add_parser("verify", help="check the bundled models against their checksums")
    path = actions.add_parser("path", help="print the path of a model")
    path.add_argument("name", metavar="NAME")
    get = actions.add_parser(
        "fetch", help="download a model from the Hugging Face hub; without a name, list what is there"
    )
    get.add_argument("name", nargs="?", metavar="NAME")
    get.add_argument("-y", "--yes", action="store_true", help="accept the licence without being asked")
    turn = actions.add_parser("convert", help="turn a .ckpt, .pth or .pkl into safetensors; no code in it is run")
    turn.add_argument("file", metavar="FILE")
    turn.add_argument("-o", "--output", metavar="OUT", help="default is the same name with .safetensors")
    link = actions.add_parser("link", help="look for models in this ComfyUI or WebUI folder from now on")
    link.add_argument("folder", metavar="DIR")


def models_command(parsed: argparse.Namespace) -> int:
    """List, check, locate, fetch or convert models."""
    match parsed.action:
        case "list":
            _list(parsed)
        case "verify":
            for model in weights.bundled():
                weights.verify(model)
                print(f"{model.name}: ok")
        case "path":
            print(_find(parsed.name).path)
        case "fetch":
            _fetch(parsed)
        case "convert":
            print(convert(_source(parsed.file), None if parsed.output is None else Path(parsed.output)))
        case _:
            for shelf in places.link(Path(parsed.folder)):
                print(f"{shelf.place}: {shelf.kind} models in {shelf.path}")
    return 0


def _list(parsed: argparse.Namespace) -> None:
    found = weights.models(parsed.kind)
    if parsed.json:
        for model in found:
            print(json.dumps({**model_values(model), "path": str(model.path)}))
        return
    for model in found:
        place = model.licence if model.bundled else model.place
        size = f"{amount(model.bytes):>9}"
        print(f"{model.name:28} {model.kind:10}{model.family:13}{size}  {place:19}{model.purpose}")
    print(f"To add more, put .safetensors files and diffusers folders into {weights.user_folders()[-1]}")


def _source(name: str) -> Path:
    """The file to convert: at that path, or a one-step model of that name."""
    path = Path(name)
    return path if path.exists() else weights.find(name, "diffusion")


def _fetch(parsed: argparse.Namespace) -> None:
    if parsed.name is None:
        for entry in manifest.entries():
            print(f"{entry.name:28} {entry.kind:10}{entry.family:13}{entry.licence:46}{entry.purpose}")
        return
    entry = manifest.entry(parsed.name)
    if not (entry.free or parsed.yes or entry.target(weights.user_folders()[-1]).exists()):
        _ask(entry)
    with _bar(entry.name) as on_bytes:
        path = fetch(entry, on_bytes=on_bytes)
    print(path)


def _ask(entry: manifest.Entry) -> None:
    """Show the licence, and go on if the user accepts it.

    Raises:
        SettingsError: he does not, or nobody can be asked.
    """
    print(
        f"{entry.name} is under {entry.licence}, which restricts what you may do with it: "
        f"https://huggingface.co/{entry.repository}",
        file=sys.stderr,
    )
    if not sys.stdin.isatty():
        raise SettingsError(f"models fetch: {entry.name} needs your consent to its licence; read it, and add --yes")
    print("Do you accept it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise SettingsError(f"models fetch: {entry.name} was not fetched, because its licence was not accepted")


@contextmanager
def _bar(name: str) -> Generator[OnBytes]:
    """A progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _find(name: str) -> weights.Model:
    for model in weights.models():
        if model.name == name:
            return model
    return weights.get(name, "gan")
