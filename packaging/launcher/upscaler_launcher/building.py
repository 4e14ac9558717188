"""The steps that make an environment, by uv: each can be stopped, and done again."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from .environments import Environments
from .isolation import for_program, for_uv, no_console
from .recipe import Recipe

_SPARE = 500_000_000  # bytes of the disk that stay free
_CHECK = 600.0  # seconds that a first start may take
_HEAD = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)")
_OF_TORCH = re.compile(r"(torch|torchvision|triton|nvidia-.*|pytorch-triton.*)$")


class BuildError(Exception):
    """What went wrong, and what to do, in one or two sentences."""


class Stopped(Exception):
    """The user wants a pause."""


class Builder:
    """Makes the environment of a recipe.

    Args:
        uv: the program.
        index: address of a package index in place of the usual one.
        note: called with a line about what is being done.
    """

    def __init__(
        self,
        recipe: Recipe,
        environments: Environments,
        uv: Path,
        *,
        index: str | None = None,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.recipe = recipe
        self.environments = environments
        self._uv = str(uv)
        self._index = index
        self.note = note
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        """Pause; what was downloaded is kept."""
        self._stop.set()
        process = self._process
        if process is not None:
            process.terminate()

    def build(self) -> str:
        """Make the environment, start it once, and use it from now on; returns its id.

        Raises:
            BuildError: a step failed; what was downloaded is kept for the next try.
            Stopped: `stop` was called.
        """
        self._stop.clear()
        id = self.recipe.id
        try:
            self.check_disk()
            self.environments.clear(id)
            self._say("Setting up Python")
            self._run_uv("venv", "--python", self.recipe.python, str(self.environments.folder(id) / "venv"))
            self._install(id)
            self._say("Starting it once")
            self._check(id)
            self._go_on()
            self.environments.complete(id, self.recipe.start)
        except OSError as error:
            raise BuildError(f"{error.strerror or error}: {error.filename or self.environments.root}.") from error
        self.environments.tidy()
        return id

    def check_disk(self) -> None:
        """Raises: BuildError: there is too little room on the disk."""
        root = self.environments.root
        root.mkdir(parents=True, exist_ok=True)
        free, needed = shutil.disk_usage(root).free, self.recipe.disk + _SPARE
        if free < needed and not any((root / "cache").glob("*")):
            raise BuildError(
                f"There is too little room on the disk: {free / 1e9:.1f} GB are free in {root}, {needed / 1e9:.1f} GB are "
                "needed. Make room and try again."
            )

    def _install(self, id: str) -> None:
        lock = self.recipe.lock
        if self.recipe.accelerated and self._accelerated(id):
            lock = self.environments.folder(id) / "lock.txt"
            lock.write_text(without_torch(self.recipe.lock.read_text("utf-8")), "utf-8")
        self._say("Downloading and installing")
        self._pip(id, "--no-deps", "--require-hashes", "-r", str(lock))
        if self.recipe.wheels:
            self._say("Installing upscaler")
            self._pip(id, "--no-deps", "--offline", "--no-index", *map(str, self.recipe.wheels))

    def _accelerated(self, id: str) -> bool:
        """Whether the build of torch that fits the hardware could be had; the locked one does everywhere."""
        locked = dict(filter(None, map(_locked, self.recipe.lock.read_text("utf-8").splitlines())))
        wanted = [f"{name}=={locked[name]}" for name in self.recipe.accelerated]
        self._say("Looking for the build that fits this machine")
        try:
            self._pip(id, "--torch-backend=auto", *wanted)
        except BuildError:
            self.note("not to be had; taking the one of the lock")
            return False
        return True

    def _pip(self, id: str, *arguments: str) -> None:
        index = ("--default-index", self._index) if self._index and "--no-index" not in arguments else ()
        python = str(self.environments.python(id))
        self._run_uv("pip", "install", "--python", python, "--only-binary", ":all:", *index, *arguments)

    def _check(self, id: str) -> None:
        command = [str(self.environments.python(id)), "-I", *self.recipe.check]
        code, reason = self._run(command, for_program(), _CHECK)
        if code:
            raise BuildError(f"The new environment does not start: {reason or f'exit code {code}'}.")

    def _run_uv(self, *arguments: str) -> None:
        code, reason = self._run([self._uv, *arguments], for_uv(self.environments.root), None)
        if code:
            raise BuildError(f"{reason or f'uv ended with {code}'}. What was downloaded is kept; try again.")

    def _run(self, command: Sequence[str], environment: dict[str, str], limit: float | None) -> tuple[int, str]:
        """Exit code, and what was said of the reason."""
        self._go_on()
        lines: list[str] = []
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            **no_console(),
        ) as process:
            self._process = process
            timer = threading.Timer(limit, process.kill) if limit else None
            if timer is not None:
                timer.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.strip():
                        lines.append(line.strip()[:300])
                        self.note(lines[-1])
                code = process.wait()
            finally:
                if timer is not None:
                    timer.cancel()
                self._process = None
        self._go_on()
        return code, reason_in(lines)

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _say(self, step: str) -> None:
        self._go_on()
        self.note(f"{step}…")


def reason_in(lines: Sequence[str]) -> str:
    """What a program said of why it failed: for uv its error with the last cause, and not what it adds as a hint."""
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    causes = [line.removeprefix("cause: ") for line in lines if line.startswith("cause: ")]
    if not errors:
        return lines[-1].rstrip(".") if lines else ""
    return errors[-1].rstrip(".") + (f" ({causes[-1].rstrip('.')})" if causes else "")


def without_torch(lock: str) -> str:
    """The lock without torch and what belongs to it; a requirement goes on over lines that end in a backslash."""
    kept: list[str] = []
    dropping = False
    for line in lock.splitlines():
        found = _locked(line)
        if found is not None:
            dropping = _OF_TORCH.match(found[0]) is not None
        if not dropping:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _locked(line: str) -> tuple[str, str] | None:
    """Name and version of a line of a lock that begins a requirement."""
    found = _HEAD.match(line)
    return (found[1].lower(), found[2]) if found else None
