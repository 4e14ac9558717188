"""The error tree. Each error is one line that names the value, what is allowed and what to do, and carries an exit code.

UpscalerError                exit 1
  + SettingsError            exit 2   a setting is out of range or does not fit another one (also a ValueError)
  + ImageError               exit 3   a picture cannot be read, written, or is larger than allowed
  + WeightsError             exit 4   something is wrong with a model file
  |   - WeightsNotFound               no model of that name; says where it looked
  |   - ChecksumMismatch              a bundled or downloaded file is not what it should be
  |   - UnsupportedModel              a file that is not a model we can run
  + ProgressError            exit 3   the progress of a run cannot be kept, or belongs to another run
  + OutOfMemory              exit 5   does not fit even one tile at a time
  + Cancelled                exit 130 the run was stopped by its user; what was finished is kept
"""

from __future__ import annotations


class UpscalerError(Exception):
    """Base of everything this package raises on purpose: `except UpscalerError as error: sys.exit(error.exit_code)`."""

    exit_code = 1


class SettingsError(UpscalerError, ValueError):
    """A setting is out of its range or does not fit another one."""

    exit_code = 2


class ImageError(UpscalerError):
    """A picture cannot be read or written, or is larger than allowed."""

    exit_code = 3


class ProgressError(UpscalerError):
    """The progress of a run cannot be kept, or belongs to another run."""

    exit_code = 3


class WeightsError(UpscalerError):
    """A model file cannot be used."""

    exit_code = 4


class WeightsNotFound(WeightsError):
    """There is no model of that name."""


class ChecksumMismatch(WeightsError):
    """A model file is not the one that its manifest describes."""


class UnsupportedModel(WeightsError):
    """The file holds no model that this package can run."""


class OutOfMemory(UpscalerError):
    """One tile alone does not fit into the device's memory."""

    exit_code = 5


class Cancelled(UpscalerError):
    """The run was stopped on request."""

    exit_code = 130


MACHINE = (OSError, MemoryError)
"""What a machine raises by itself anywhere: a disk, a folder or a name that does not do, and memory that is too little."""


def ours(error: BaseException) -> UpscalerError:
    """An error of the machine as one of this package, in one line that names the file; ours as they are."""
    if isinstance(error, UpscalerError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("there is not enough memory for this picture; choose a smaller size")
    return ImageError(f"{named(error)}; check the name, the disk and your permissions")


def named(error: BaseException) -> str:
    """The file that an error of the system is about, and what is wrong with it.

    >>> named(FileNotFoundError(2, "No such file or directory", "a.png"))
    'a.png: no such file or directory'
    """
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    file = getattr(error, "filename", None)
    reason = f"{reason[:1].lower()}{reason[1:]}"
    return reason if file is None else f"{file!s}: {reason}"
