"""What a run would do to a picture, before any model is loaded: the settings as it has them, its plan, and its faces."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

from .errors import SettingsError, WeightsError
from .fitting import LEAST_TILE, cards, fit, spare
from .geometry import Box, Size
from .models import describe_refiner, describe_upscaler, load_detector
from .models.base import Face, FaceDetector, Habits, Redrawer
from .options.settings import Settings
from .options.settings import options as all_options
from .pictures.files import Source, load, size_in_header
from .pictures.picture import Picture
from .plan import plan_run
from .run_plan import RunPlan
from .stages.faces import advice
from .timing import kind_of

_LARGE = Size(1024, 1024)  # a picture whose tiles are as large as they get
_FOUND: WeakKeyDictionary[Picture, list[Face]] = WeakKeyDictionary()


def plan(
    image: Source | Size, settings: Settings | None = None, *, region: Box | None = None, **options: Any
) -> RunPlan:
    """What a run would do to a picture, or to one of that size: sizes, tiles, evaluations, memory.

    Args:
        region: as in `run`.

    Loads no model; but of a super-resolution model of the user's own the file is read, since nothing else tells its
    scale.

    Raises:
        SettingsError: the settings do not fit this picture.
        WeightsNotFound: a model is not there.
    """
    settings = settle(settings, options)
    restores = settings.faces.strength > 0 and not isinstance(image, Size)
    size, picture = _look_at(image, settings, decode=restores)
    alpha = picture is not None and picture.alpha is not None
    faces = faces_in(picture) if restores and picture is not None else []
    settings = keep_within_memory(settings, size, alpha=alpha)
    return _planned(size, settings, alpha=alpha, region=region, faces=faces)


def within_memory(image: Source | Size, settings: Settings) -> Settings:
    """The settings as a run of that picture, or of one of that size, has them: changed until they fit `hardware.memory`.

    Raises:
        OutOfMemory: nothing is small enough.
        SettingsError, WeightsNotFound: as `plan`, and where it is not known what a model takes.
    """
    size, picture = _look_at(image, settings)
    return keep_within_memory(settings, size, alpha=picture is not None and picture.alpha is not None)


def fitted(settings: Settings, *, given: Collection[str]) -> Settings:
    """`settings` with the defaults of the diffusion model that they name, where those are not the general ones.

    Args:
        given: names of options that the user chose; they stay.
    """
    if settings.diffusion.model == "none":
        return settings
    with suppress(WeightsError):  # the run says what is wrong with it
        return _with_defaults(settings, _describe_refiner(settings).habits, given)
    return settings


def with_model(before: Settings, settings: Settings) -> Settings:
    """`settings`, in which another diffusion model or LoRA was chosen than `before`, with the defaults of the new one.

    What the old one's defaults have set, and nobody has changed since, is at its general default again.
    """
    old, new = _defaults_of(before), _defaults_of(settings)
    untouched = {
        option.name: option.default
        for option in all_options()
        if option.name in old and settings.value(option) == old[option.name]
    }
    return settings.but(**{**untouched, **new})


def settle(settings: Settings | None, options: dict[str, Any], *, habits: Habits | None = None) -> Settings:
    """Settings of a call: those given, or else the default ones that go with the model, with options laid over them."""
    if settings is not None:
        return settings.but(**options)
    settings = Settings().but(**options)
    return fitted(settings, given=options) if habits is None else _with_defaults(settings, habits, options)


def without_effect(settings: Settings, habits: Habits) -> list[str]:
    """The options that were given another value than the model's default, and that it ignores."""
    changed = {option.name for option in all_options() if settings.value(option) != option.default}
    return [name for name in habits.ignores if name in changed]


def faces_in(picture: Picture, detector: FaceDetector | None = None) -> list[Face]:
    """The faces in a picture, in its pixels.

    Args:
        detector: default is YuNet, whose answer is remembered as long as the picture is there.

    Raises:
        SettingsError: OpenCV is not installed.
        WeightsNotFound: YuNet is not there.
    """
    if detector is not None:
        return detector(picture.pixels)
    if picture not in _FOUND:
        _FOUND[picture] = load_detector()(picture.pixels)
    return _FOUND[picture]


def advice_on_faces(image: Source, settings: Settings) -> str:
    """What a face model could do for a picture that is to be enlarged without one; empty where that is not known.

    Raises: ImageError.
    """
    if settings.faces.strength > 0:
        return ""
    picture = load(image, max_pixels=settings.output.pixel_limit)
    with suppress(SettingsError, WeightsError):  # nothing that finds faces is installed
        return advice(faces_in(picture), picture.size, settings.target.of(picture.size))
    return ""


def on_cards(settings: Settings, size: Size) -> str:
    """Which settings fit graphics cards of usual memories for a picture of that size; see `fitting.cards`."""
    return cards(settings, partial(_planned, size))  # not `plan`, which fits each candidate already


def keep_within_memory(settings: Settings, size: Size, *, alpha: bool) -> Settings:
    """The settings, changed as far as their `hardware.memory` asks for it. Raises: as `fitting.fit`."""
    kind = kind_of(settings.hardware.device)
    return fit(sparing(settings), partial(_planned, size, alpha=alpha), kind=kind)


def sparing(settings: Settings) -> Settings:
    """The settings with the diffusion model kept as sparingly as `hardware.memory` asks for, whatever the picture."""

    def planned(some: Settings) -> RunPlan:
        least = min(settings.gan.tile, LEAST_TILE)  # those of the first stage can be made smaller for any picture
        return _planned(_LARGE, some.but(scale=4.0, width=None, height=None, megapixels=None, gan_tile=least))

    return spare(settings, planned, kind=kind_of(settings.hardware.device))


def _planned(
    size: Size,
    settings: Settings,
    *,
    alpha: bool = False,
    region: Box | None = None,
    faces: Sequence[Face] = (),
) -> RunPlan:
    """The plan by what is known of the models that the settings name."""
    enlarger = None if settings.gan.model == "none" else describe_upscaler(settings.gan.model)
    redrawer = None if settings.diffusion.model == "none" else _describe_refiner(settings)
    return plan_run(size, settings, upscaler=enlarger, refiner=redrawer, alpha=alpha, region=region, faces=faces)


def _look_at(image: Source | Size, settings: Settings, *, decode: bool = False) -> tuple[Size, Picture | None]:
    """The size of a picture that can be enlarged as the settings say; and itself, where its head does not tell, or if asked for.

    Raises:
        SettingsError: the target size is out of range for this picture.
    """
    size = image if isinstance(image, Size) else size_in_header(image, max_pixels=settings.output.pixel_limit)
    picture = None
    if size is None or decode:
        picture = load(cast("Source", image), max_pixels=settings.output.pixel_limit)
        size = picture.size
    settings.target.of(size)  # an impossible size is refused before models are looked for
    return size, picture


def _describe_refiner(settings: Settings) -> Redrawer:
    diffusion, hardware = settings.diffusion, settings.hardware
    return describe_refiner(
        diffusion.model,
        lora=diffusion.lora,
        control=diffusion.control,
        device=kind_of(hardware.device),
        precision=hardware.precision,
        storage=hardware.storage,
    )


def _with_defaults(settings: Settings, habits: Habits, given: Collection[str]) -> Settings:
    return settings.but(**{name: value for name, value in habits.defaults.items() if name not in given})


def _defaults_of(settings: Settings) -> dict[str, Any]:
    if settings.diffusion.model != "none":
        with suppress(WeightsError):
            return dict(_describe_refiner(settings).habits.defaults)
    return {}
