"""A training run as a frozen record, read from TOML; what is not known is an error that names the nearest."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from math import inf, isfinite
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from swinir.errors import RecipeError
from swinir.model import VARIANTS, SwinIRConfig, Upsampler

Record = TypeVar("Record")

# Stands for "above 0": no rate or factor of a run that goes anywhere is as small.
SMALLEST = 1e-12


class Decay(StrEnum):
    """How the learning rate falls: along half a cosine to zero, or by a factor at each milestone."""

    COSINE = "cosine"
    MILESTONES = "milestones"


class ComputePrecision(StrEnum):
    """What matrix products run in; AUTO is bf16 where the device multiplies it natively, else fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Which network, and what it starts from.

    ``start_from`` is a model name or a checkpoint; tensors of the same name and shape are taken from it, so the
    body of ×2 starts ×3 and ×4. Empty: from scratch. ``fit_reconstruction`` solves for the last layer before the
    first step (direct pixel shuffle only): a short run then begins where a long one would be after hours.
    """

    variant: str
    start_from: str = ""
    fit_reconstruction: bool = False

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise RecipeError(f"model.variant '{self.variant}' is unknown{_nearest(self.variant, VARIANTS)}")
        if self.config.scale == 1:
            raise RecipeError(
                f"model.variant '{self.variant}' does not enlarge, but training makes pairs by shrinking: "
                "choose a super-resolution variant"
            )
        if self.fit_reconstruction and self.config.upsampler is not Upsampler.PIXEL_SHUFFLE_DIRECT:
            raise RecipeError(
                f"model.fit_reconstruction needs a lightweight variant, not '{self.variant}': leave it out"
            )

    @property
    def config(self) -> SwinIRConfig:
        """The variant's configuration."""
        return VARIANTS[self.variant]


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where pictures are and how crops are drawn; ``crop_px`` is the side of a low-quality crop."""

    train: Path
    validation: Mapping[str, Path] = field(default_factory=dict[str, Path])
    crop_px: int = 64
    batch_size: int = 32


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """Adam, its schedule, the clipping of gradients (0: none) and the average of weights (EMA) that is kept."""

    steps: int
    learning_rate: float
    warmup_steps: int = 0
    decay: Decay = Decay.COSINE
    milestones: tuple[int, ...] = ()
    decay_factor: float = 0.5
    betas: tuple[float, ...] = (0.9, 0.999)
    gradient_clip: float = 0.0
    ema_decay: float = 0.999


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """Where results go and how often; numbers of steps."""

    folder: Path
    seed: int = 0
    precision: ComputePrecision = ComputePrecision.AUTO
    log_every: int = 100
    evaluate_every: int = 5_000
    save_every: int = 1_000


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole training run."""

    model: ModelRecipe
    data: DataRecipe
    optimizer: OptimizerRecipe
    run: RunRecipe

    def __post_init__(self) -> None:
        data, optimizer, run = self.data, self.optimizer, self.run
        # Value, least, greatest; what is not below infinity is wrong, and so is NaN.
        ranges = {
            "data.crop_px": (data.crop_px, 1, inf),
            "data.batch_size": (data.batch_size, 1, inf),
            "optimizer.steps": (optimizer.steps, 1, inf),
            "optimizer.learning_rate": (optimizer.learning_rate, SMALLEST, inf),
            "optimizer.warmup_steps": (optimizer.warmup_steps, 0, inf),
            "optimizer.decay_factor": (optimizer.decay_factor, SMALLEST, 1),
            "optimizer.gradient_clip": (optimizer.gradient_clip, 0, inf),
            "optimizer.ema_decay": (optimizer.ema_decay, 0, 1 - SMALLEST),
            "run.seed": (run.seed, 0, 2**63 - 1),
            "run.log_every": (run.log_every, 1, inf),
            "run.evaluate_every": (run.evaluate_every, 1, inf),
            "run.save_every": (run.save_every, 1, inf),
        }
        for name, (value, least, greatest) in ranges.items():
            if not (least <= value <= greatest and isfinite(value)):
                most = "" if greatest == inf else f" and at most {greatest:g}"
                raise RecipeError(f"{name} is {value}, but must be at least {least:g}{most}")
        if len(optimizer.betas) != 2 or not all(0 <= beta < 1 for beta in optimizer.betas):
            raise RecipeError(
                f"optimizer.betas is {list(optimizer.betas)}, but must be two numbers in [0, 1)"
            )
        if optimizer.decay is Decay.MILESTONES and not optimizer.milestones:
            raise RecipeError("optimizer.decay is 'milestones', but optimizer.milestones names none")


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; ``overrides`` are ``table.key=value``, the value as TOML or as a bare string.

    Raises:
        RecipeError: the file cannot be read, a key is unknown or missing, a value is of the wrong kind.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecipeError(f"cannot read the recipe {path}: {reason}") from error
    for override in overrides:
        _override(tables, override)
    return _record(Recipe, tables, "")


def _override(tables: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(f"'{override}' changes nothing: write table.key=value, such as data.batch_size=16")
    *path, key = name.strip().split(".")
    table = tables
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(f"'{part}' in '{override}' is not a table of the recipe")
    table[key] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _record(kind: type[Record], table: object, where: str) -> Record:
    """Build a frozen record from a TOML table, key by key."""
    if not isinstance(table, Mapping):
        raise RecipeError(f"{where} is {table!r}, but must be a table")
    values = cast("Mapping[str, Any]", table)
    hints = get_type_hints(kind)
    known = {item.name: item for item in fields(cast("Any", kind))}
    for key in values:
        if key not in known:
            raise RecipeError(f"unknown key '{_join(where, key)}' in the recipe{_nearest(key, known)}")
    for name, item in known.items():
        if name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise RecipeError(f"the recipe lacks '{_join(where, name)}'")
    return kind(**{key: _convert(hints[key], value, _join(where, key)) for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Turn a TOML value into what the record's field wants."""
    if is_dataclass(hint):
        return _record(cast("type[Any]", hint), value, where)
    if hint == Mapping[str, Path] and isinstance(value, Mapping):
        paths = cast("Mapping[str, Any]", value)
        return {name: _convert(Path, path, _join(where, name)) for name, path in paths.items()}
    if hint in (tuple[int, ...], tuple[float, ...]) and isinstance(value, list):
        kind = get_args(hint)[0]
        return tuple(_convert(kind, item, where) for item in cast("list[Any]", value))
    if hint is float and type(value) is int:
        return float(value)
    if hint in (bool, int, float):
        if type(value) is hint:
            return value
    elif isinstance(value, str) and isinstance(hint, type):
        return _convert_text(hint, value, where)
    raise RecipeError(f"{where} is {value!r}, but must be {_described(hint)}")


def _convert_text(hint: Any, value: str, where: str) -> Any:
    try:
        return hint(value)
    except ValueError as error:
        raise RecipeError(f"{where} is '{value}', but must be {_described(hint)}") from error


def _described(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "one of " + ", ".join(f"'{member}'" for member in hint)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    return names.get(hint, "a table of paths" if hint == Mapping[str, Path] else "a list of numbers")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"
