"""A training run as a frozen record, checked once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from enum import StrEnum
from math import inf, isfinite
from pathlib import Path
from typing import Any

from swinir.data import Bicubic, Degradation, GaussianNoise, Jpeg, RealWorld, Sampling, StoredPairs
from swinir.data.bsrgan import PUBLISHED, REALISTIC
from swinir.errors import RecipeError, UsageError
from swinir.model import VARIANTS, SwinIRConfig
from swinir.options import Precision

# Stands for "above 0": no rate or factor of a run that goes anywhere is as small.
SMALLEST = 1e-12


class DegradationKind(StrEnum):
    """How low quality is made of high quality; BSRGAN as published, REAL_WORLD with the camera's noise too.

    PAIRS are files of both.
    """

    BICUBIC = "bicubic"
    NOISE = "noise"
    JPEG = "jpeg"
    BSRGAN = "bsrgan"
    REAL_WORLD = "real-world"
    PAIRS = "pairs"


class PixelLoss(StrEnum):
    """How pixels are compared."""

    L1 = "l1"
    CHARBONNIER = "charbonnier"


class Decay(StrEnum):
    """How the learning rate falls: along half a cosine or a line to zero, or by a factor at each milestone."""

    COSINE = "cosine"
    LINEAR = "linear"
    MILESTONES = "milestones"


class OptimizerKind(StrEnum):
    """What turns gradients into updates; MUON updates the matrices of linear layers, and leaves the rest to Adam."""

    ADAM = "adam"
    MUON = "muon"


class Compilation(StrEnum):
    """Whether torch.compile makes the step; AUTO does so on a GPU, since a CPU is no faster for it."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Which network, and what it starts from.

    ``start_from`` is a model name or a checkpoint; tensors of the same name and shape are taken from it, so the
    body of ×2 starts ×3 and ×4. Empty: from scratch. ``fit_reconstruction`` solves for the last layer before the
    first step, where it is linear: a short run then begins where a long one would be after hours. ``changes``
    are fields of ``SwinIRConfig`` that differ from the variant's, such as a depth or a width to compare.
    ``drop_path`` is the chance that the last layer's branches are left out of a crop (stochastic depth, growing
    from 0 at the first).
    """

    variant: str
    start_from: str = ""
    fit_reconstruction: bool = False
    drop_path: float = 0.0
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise RecipeError(f"model.variant '{self.variant}' is unknown{nearest(self.variant, VARIANTS)}")
        known = [item.name for item in fields(SwinIRConfig)]
        for key in self.changes:
            if key not in known:
                raise RecipeError(f"unknown key 'model.changes.{key}' in the recipe{nearest(key, known)}")
        try:
            replace(VARIANTS[self.variant], **self.changes)
        except (UsageError, TypeError, ValueError) as error:
            raise RecipeError(f"model.changes make no network of '{self.variant}': {error}") from error
        check_ranges({"model.drop_path": (self.drop_path, 0, 0.9)})
        if self.fit_reconstruction and not self.config.head.is_linear:
            raise RecipeError(
                f"model.fit_reconstruction needs a variant whose reconstruction is one layer, not "
                f"'{self.variant}': leave it out"
            )

    @property
    def config(self) -> SwinIRConfig:
        """The variant's configuration, changed."""
        return replace(VARIANTS[self.variant], **self.changes)


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where pictures are and how crops are drawn; ``crop_px`` is the side of a low-quality crop.

    ``train`` is a folder or a text file that names one picture or folder a line; for own pairs ``train_lq`` and
    ``train_hq`` are two, whose pictures are matched by name. ``batch_size`` counts the crops
    of a step over all processes and accumulated parts. ``sampling`` draws every place of all pictures equally often,
    or every picture. ``cache``: a folder that keeps the decoded pixels, which are
    then mapped and not read; empty: in memory. ``workers``: threads for JPEG and the real world.
    """

    train: Path | None = None
    train_lq: Path | None = None
    train_hq: Path | None = None
    validation: Mapping[str, Path] = field(default_factory=dict[str, Path])
    crop_px: int = 64
    batch_size: int = 32
    sampling: Sampling = Sampling.UNIFORM_OVER_PIXELS
    cache: str = ""
    workers: int = 8


@dataclass(frozen=True, kw_only=True)
class DegradationRecipe:
    """How low quality is made; ``sigma`` (of 255) and ``quality`` are one level, or the least and the greatest.

    ``validation_level`` is the noise or the quality of validation where there are many; 0 takes the middle.
    """

    kind: DegradationKind = DegradationKind.BICUBIC
    sigma: tuple[float, ...] = ()
    quality: tuple[int, ...] = ()
    validation_level: float = 0.0

    def __post_init__(self) -> None:
        for name, levels, wanted in (
            ("sigma", self.sigma, self.kind is DegradationKind.NOISE),
            ("quality", self.quality, self.kind is DegradationKind.JPEG),
        ):
            if wanted != bool(levels):
                problem = (
                    f"needs degradation.{name}" if wanted else f"has no degradation.{name}: leave it out"
                )
                raise RecipeError(f"degradation.kind '{self.kind}' {problem}")
            if len(levels) > 2 or list(levels) != sorted(levels):
                raise RecipeError(
                    f"degradation.{name} is {list(levels)}, but must be one level or the least and the greatest"
                )
        for level in self.sigma:
            check_ranges({"degradation.sigma": (level, 0, 255)})
        for level in self.quality:
            check_ranges({"degradation.quality": (level, 1, 100)})
        check_ranges({"degradation.validation_level": (self.validation_level, 0, 255)})

    @property
    def degradation(self) -> Degradation:
        """Return the options of the loader."""
        match self.kind:
            case DegradationKind.BICUBIC:
                return Bicubic()
            case DegradationKind.NOISE:
                return GaussianNoise(sigma=(self.sigma[0], self.sigma[-1]))
            case DegradationKind.JPEG:
                return Jpeg(quality=(self.quality[0], self.quality[-1]))
            case DegradationKind.BSRGAN:
                return RealWorld(options=PUBLISHED)
            case DegradationKind.REAL_WORLD:
                return RealWorld(options=REALISTIC)
            case DegradationKind.PAIRS:
                return StoredPairs()

    @property
    def level(self) -> float:
        """Noise (of 255) or quality that validation is made with."""
        levels = self.sigma or self.quality or (0.0,)
        return self.validation_level or (levels[0] + levels[-1]) / 2


@dataclass(frozen=True, kw_only=True)
class LossRecipe:
    """What is minimised: a weighted sum, where a weight of 0 leaves a part out.

    ``perceptual_weights`` is a file of VGG19's parameters; empty: the one that is downloaded once.
    ``discriminator_steps_before`` trains the discriminator alone first, for a network that is good already.
    """

    pixel: PixelLoss = PixelLoss.L1
    pixel_weight: float = 1.0
    charbonnier_epsilon: float = 1e-3
    perceptual_weight: float = 0.0
    perceptual_weights: str = ""
    gan_weight: float = 0.0
    discriminator_learning_rate: float = 1e-4
    discriminator_steps_before: int = 0

    def __post_init__(self) -> None:
        check_ranges(
            {
                "loss.pixel_weight": (self.pixel_weight, 0, inf),
                "loss.charbonnier_epsilon": (self.charbonnier_epsilon, SMALLEST, inf),
                "loss.perceptual_weight": (self.perceptual_weight, 0, inf),
                "loss.gan_weight": (self.gan_weight, 0, inf),
                "loss.discriminator_learning_rate": (self.discriminator_learning_rate, SMALLEST, inf),
                "loss.discriminator_steps_before": (self.discriminator_steps_before, 0, inf),
            }
        )
        if not self.pixel_weight + self.perceptual_weight + self.gan_weight:
            raise RecipeError("every weight of [loss] is 0: give pixel_weight one")


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """The optimizer, its schedule, the clipping of gradients (0: none) and the average of weights (EMA).

    ``learning_rate`` and ``betas`` are Adam's; Muon has a rate, a momentum and a weight decay of its own, and both
    rates follow one schedule. ``muon_convolutions`` gives Muon the convolutions of the body too.
    ``accumulate`` cuts each batch into as many parts whose gradients are summed, for less memory.
    ``nan_limit`` steps in a row that are not finite are skipped; one more ends the run.
    """

    steps: int
    learning_rate: float
    kind: OptimizerKind = OptimizerKind.ADAM
    muon_learning_rate: float = 6e-3
    muon_momentum: float = 0.95
    muon_weight_decay: float = 0.1
    muon_convolutions: bool = False
    warmup_steps: int = 0
    decay: Decay = Decay.COSINE
    milestones: tuple[int, ...] = ()
    decay_factor: float = 0.5
    betas: tuple[float, ...] = (0.9, 0.999)
    gradient_clip: float = 0.0
    ema_decay: float = 0.999
    accumulate: int = 1
    nan_limit: int = 10

    def __post_init__(self) -> None:
        check_ranges(
            {
                "optimizer.steps": (self.steps, 1, inf),
                "optimizer.learning_rate": (self.learning_rate, SMALLEST, inf),
                "optimizer.muon_learning_rate": (self.muon_learning_rate, SMALLEST, inf),
                "optimizer.muon_momentum": (self.muon_momentum, 0, 1 - SMALLEST),
                "optimizer.muon_weight_decay": (self.muon_weight_decay, 0, inf),
                "optimizer.warmup_steps": (self.warmup_steps, 0, inf),
                "optimizer.decay_factor": (self.decay_factor, SMALLEST, 1),
                "optimizer.gradient_clip": (self.gradient_clip, 0, inf),
                "optimizer.ema_decay": (self.ema_decay, 0, 1 - SMALLEST),
                "optimizer.accumulate": (self.accumulate, 1, inf),
                "optimizer.nan_limit": (self.nan_limit, 0, inf),
            }
        )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise RecipeError(f"optimizer.betas is {list(self.betas)}, but must be two numbers in [0, 1)")
        if self.decay is Decay.MILESTONES and not self.milestones:
            raise RecipeError("optimizer.decay is 'milestones', but optimizer.milestones names none")


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """Where results go and how often; numbers of steps."""

    folder: Path
    seed: int = 0
    precision: Precision = Precision.AUTO
    compilation: Compilation = Compilation.AUTO
    log_every: int = 100
    evaluate_every: int = 5_000
    save_every: int = 1_000

    def __post_init__(self) -> None:
        check_ranges(
            {
                "run.seed": (self.seed, 0, 2**63 - 1),
                "run.log_every": (self.log_every, 1, inf),
                "run.evaluate_every": (self.evaluate_every, 1, inf),
                "run.save_every": (self.save_every, 1, inf),
            }
        )
        if self.precision is Precision.FP16:
            raise RecipeError(
                "run.precision is 'fp16', which would need its losses scaled: choose 'auto', 'fp32' or 'bf16'"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole training run."""

    model: ModelRecipe
    data: DataRecipe
    degradation: DegradationRecipe = field(default_factory=DegradationRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe
    run: RunRecipe

    def __post_init__(self) -> None:
        data = self.data
        check_ranges(
            {
                "data.crop_px": (data.crop_px, 1, inf),
                "data.batch_size": (data.batch_size, 1, inf),
                "data.workers": (data.workers, 1, 1024),
            }
        )
        if data.batch_size % self.optimizer.accumulate:
            raise RecipeError(
                f"data.batch_size {data.batch_size} does not divide into optimizer.accumulate "
                f"{self.optimizer.accumulate} parts"
            )
        config, kind = self.model.config, self.degradation.kind
        self._check_sources()
        enlarges = kind in (DegradationKind.BICUBIC, DegradationKind.BSRGAN, DegradationKind.REAL_WORLD)
        if kind is not DegradationKind.PAIRS and enlarges != (config.scale > 1):
            verb = "enlarges" if config.scale > 1 else "does not enlarge"
            fitting = "'bicubic', 'bsrgan' or 'real-world'" if config.scale > 1 else "'noise' or 'jpeg'"
            raise RecipeError(
                f"model.variant '{self.model.variant}' {verb}, but degradation.kind is '{kind}': "
                f"choose {fitting}, or another variant"
            )
        needs_colour = (
            kind in (DegradationKind.BSRGAN, DegradationKind.REAL_WORLD) or self.loss.perceptual_weight
        )
        if needs_colour and config.in_channels != 3:
            raise RecipeError(f"model.variant '{self.model.variant}' is grey, but the recipe needs colour")

    def _check_sources(self) -> None:
        """Check that pictures are named as the degradation needs them."""
        data, are_pairs = self.data, self.degradation.kind is DegradationKind.PAIRS
        wanted = {"data.train": not are_pairs, "data.train_lq": are_pairs, "data.train_hq": are_pairs}
        given = (data.train, data.train_lq, data.train_hq)
        for (name, is_wanted), path in zip(wanted.items(), given, strict=True):
            if is_wanted and path is None:
                raise RecipeError(
                    f"the recipe lacks '{name}': degradation.kind '{self.degradation.kind}' needs it"
                )
            if not is_wanted and path is not None:
                raise RecipeError(
                    f"degradation.kind '{self.degradation.kind}' has no {name}: "
                    "leave it out, or choose degradation.kind 'pairs' for data.train_lq and data.train_hq"
                )


def check_ranges(ranges: Mapping[str, tuple[float, float, float]]) -> None:
    """Check values by name, each with its least and greatest; what is not finite is wrong, and so is NaN.

    Raises:
        RecipeError: a value is out of its range.
    """
    for name, (value, least, greatest) in ranges.items():
        if not (least <= value <= greatest and isfinite(value)):
            most = "" if greatest == inf else f" and at most {greatest:g}"
            raise RecipeError(f"{name} is {value}, but must be at least {least:g}{most}")


def nearest(key: str, known: Iterable[str]) -> str:
    """Say which known key was meant, or all of them."""
    known = list(known)
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}"
