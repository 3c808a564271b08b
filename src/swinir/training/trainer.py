"""A run from its recipe to its weights: begin or continue, step, measure, save, stop."""

import json
import logging
import math
import signal
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from swinir.data import CropLoader, Shard, image_files
from swinir.engine import multiplies_bf16
from swinir.errors import TrainingError
from swinir.training.distributed import World, joined_world
from swinir.training.log import RunLog
from swinir.training.losses import charbonnier, l1
from swinir.training.perceptual import PerceptualLoss, load_vgg19, vgg19_file
from swinir.training.recipe import Compilation, ComputePrecision, LossRecipe, PixelLoss, Recipe
from swinir.training.schedule import decay_factor
from swinir.training.start import bypass_body, fit_reconstruction
from swinir.training.state import TrainState
from swinir.training.step import Objective, StepMetrics, StepOptions, draw_branch_scales, train_step
from swinir.training.validation import validated
from swinir.weights import catalog, load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

# Batches that the reconstruction is solved from: some 100,000 pixels are many for its 541 unknowns.
FIT_PIXELS = 100_000
# A loader slower than this many times the step makes the device wait now and then.
LOADER_HEADROOM = 3
# Steps between two times that the processes of a run ask each other whether to stop.
AGREE_EVERY = 10
# Seeds of stochastic depth must not be those of crops.
DEPTH_STREAM = 0x6465707468


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A run that is ready to step."""

    recipe: Recipe
    state: TrainState
    loader: CropLoader
    objective: Objective
    options: StepOptions
    world: World


def fit(recipe: Recipe, *, resume: bool = False, device: torch.device | None = None) -> Path:
    """Train as the recipe says; return the file of the averaged weights.

    The run's folder receives ``state.pt`` (to resume from), ``last.safetensors`` and ``best.safetensors``
    (averaged weights, the best by PSNR on the first validation set, if there is one), ``log.jsonl`` and
    TensorBoard's events. SIGTERM ends the run after the step it is in, saved. Under torchrun, every process
    makes its part of each batch and the first one writes.

    Args:
        recipe: the run.
        resume: continue from ``state.pt`` in the run's folder, exactly where it stopped.
        device: where to train; None takes a GPU when there is one.

    Raises:
        DataError, TrainingError, WeightsError: what stands in the way, named.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    check_folder(recipe.run.folder, resume=resume)
    with joined_world(device) as (world, own_device), asked_to_stop() as is_asked:
        # Nobody makes the folder before all have looked.
        world.wait()
        stage = prepared(recipe, own_device, world, resume=resume)
        log = RunLog(made(recipe.run.folder), stage.state.step) if world.is_first else nullcontext()
        with log as writer, torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False):
            _loop(stage, writer, is_asked)
        world.wait()
    return recipe.run.folder / "last.safetensors"


def check_folder(folder: Path, *, resume: bool) -> None:
    """Refuse to start over another run, or to continue none."""
    state_file = folder / "state.pt"
    if state_file.exists() and not resume:
        raise TrainingError(
            f"{folder} holds a run already: add --resume to continue it, or choose another run.folder"
        )
    if resume and not state_file.exists():
        raise TrainingError(f"there is no run to resume in {folder}: {state_file} does not exist")


def prepared(recipe: Recipe, device: torch.device, world: World, *, resume: bool) -> Stage:
    """Read pictures and weights, and build what a step needs."""
    for validation in recipe.data.validation.values():
        # A wrong path is told now, not after the hours before the first evaluation.
        image_files(validation)
    if recipe.model.start_from and not resume:
        # Nor is it told after half a gigabyte of VGG19 has come.
        catalog.resolve(recipe.model.start_from)
    objective = objective_of(recipe.loss, device, world)
    loader = loader_of(recipe, device, world)
    if resume:
        state = created(recipe, device)
        state.load(recipe.run.folder / "state.pt")
    else:
        state = started(recipe, loader, device)
    connect(state, recipe.run.compilation, device, world)
    optimizer = recipe.optimizer
    options = StepOptions(
        dtype=compute_dtype(recipe.run.precision, device),
        gradient_clip=optimizer.gradient_clip,
        ema_decay=optimizer.ema_decay,
        accumulate=optimizer.accumulate,
        discriminator_steps_before=recipe.loss.discriminator_steps_before,
    )
    return Stage(recipe=recipe, state=state, loader=loader, objective=objective, options=options, world=world)


def made(folder: Path) -> Path:
    """Make the run's folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be made ({error.strerror}): choose another run.folder"
        ) from error
    return folder


def loader_of(recipe: Recipe, device: torch.device, world: World) -> CropLoader:
    """Read the training pictures.

    Raises:
        TrainingError: the batch does not divide among the processes and parts.
    """
    data, parts = recipe.data, world.count * recipe.optimizer.accumulate
    if data.batch_size % parts:
        raise TrainingError(
            f"data.batch_size {data.batch_size} does not divide into {world.count} processes times "
            f"{recipe.optimizer.accumulate} accumulated parts: choose a multiple of {parts}"
        )
    return CropLoader.from_folder(
        data.train,
        channels=recipe.model.config.in_channels,
        scale=recipe.model.config.scale,
        crop_px=data.crop_px,
        batch_size=data.batch_size,
        seed=recipe.run.seed,
        device=device,
        degradation=recipe.degradation.degradation,
        sampling=data.sampling,
        shard=Shard(index=world.rank, count=world.count),
        workers=data.workers,
        cache=Path(data.cache) if data.cache else None,
    )


def objective_of(loss: LossRecipe, device: torch.device, world: World) -> Objective:
    """Build what is minimised.

    Raises:
        WeightsError: VGG19's parameters are wanted and cannot be had.
    """
    perceptual = None
    if loss.perceptual_weight:
        named = Path(loss.perceptual_weights) if loss.perceptual_weights else None
        # What must be downloaded is downloaded by one process.
        if world.is_first:
            vgg19_file(named)
        world.wait()
        perceptual = PerceptualLoss(load_vgg19(vgg19_file(named))).to(device)
    is_l1 = loss.pixel is PixelLoss.L1
    return Objective(
        pixel=l1 if is_l1 else partial(charbonnier, epsilon=loss.charbonnier_epsilon),
        pixel_weight=loss.pixel_weight,
        perceptual=perceptual,
        perceptual_weight=loss.perceptual_weight,
        gan_weight=loss.gan_weight,
    )


def created(
    recipe: Recipe, device: torch.device, start_from: Mapping[str, Tensor] | None = None
) -> TrainState:
    """Create the recipe's state at step 0."""
    return TrainState.create(
        recipe.model.config,
        recipe.optimizer,
        seed=recipe.run.seed,
        device=device,
        dtype=compute_dtype(recipe.run.precision, device),
        start_from=start_from,
        has_adversary=recipe.loss.gan_weight > 0,
    )


def started(recipe: Recipe, loader: CropLoader, device: torch.device) -> TrainState:
    """Create the state a run begins with.

    Raises:
        TrainingError: the model to start from is of another width.
    """
    origin = None
    if recipe.model.start_from:
        config, origin = load_checkpoint(catalog.resolve(recipe.model.start_from))
        if config.embed_dim != recipe.model.config.embed_dim:
            raise TrainingError(
                f"{recipe.model.start_from} is of another width: it holds {config}, the recipe asks for "
                f"{recipe.model.config}: choose a model of the same embed_dim"
            )
    state = created(recipe, device, origin)
    if recipe.model.fit_reconstruction:
        if origin is None:
            bypass_body(state.model)
        # Steps of a training run count from 0: batches before that are its own and never seen again.
        num_batches = math.ceil(FIT_PIXELS / (loader.batch_size * loader.crop_px**2))
        fit_reconstruction(state.model, (loader.batch(-1 - n) for n in range(num_batches)))
        state.update_average(0)
    return state


def connect(state: TrainState, compilation: Compilation, device: torch.device, world: World) -> None:
    """Have the network compiled where that helps, and its gradients shared among the processes."""
    if compilation is Compilation.ON or (compilation is Compilation.AUTO and device.type == "cuda"):
        state.network = cast("nn.Module", torch.compile(state.model))
    if world.count > 1:
        ids = [device.index] if device.type == "cuda" else None
        state.network = DistributedDataParallel(state.network, device_ids=ids)
        if state.adversary is not None:
            state.adversary.network = DistributedDataParallel(state.adversary.discriminator, device_ids=ids)


def compute_dtype(precision: ComputePrecision, device: torch.device) -> torch.dtype:
    """Choose what matrix products run in on this device."""
    if precision is ComputePrecision.FP32:
        return torch.float32
    if precision is ComputePrecision.BF16 or multiplies_bf16(device):
        return torch.bfloat16
    return torch.float32


@contextmanager
def asked_to_stop() -> Generator[Callable[[], bool]]:
    """Offer a function that tells whether SIGTERM has come; only Python's main thread can listen to it."""
    asked: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        asked.append(number)

    try:
        before = signal.signal(signal.SIGTERM, note)
    except ValueError:
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGTERM, before)


def one_step(stage: Stage) -> StepMetrics:
    """Do the step that is next, and count it."""
    recipe, state, loader = stage.recipe, stage.state, stage.loader
    factor = decay_factor(state.step, recipe.optimizer)
    state.set_learning_rate(
        recipe.optimizer.learning_rate * factor, recipe.loss.discriminator_learning_rate * factor
    )
    scales = None
    if recipe.model.drop_path:
        scales = draw_branch_scales(
            torch.Generator().manual_seed(loader.seed_of(state.step, DEPTH_STREAM)),
            num_layers=sum(recipe.model.config.depths),
            batch_size=loader.batch_size,
            drop_path=recipe.model.drop_path,
        )
        # Drawn for all processes, so that their number does not matter.
        scales = scales[:, loader.shard.rows].to(loader.device)
    metrics = train_step(state, loader.batch(state.step), stage.objective, stage.options, scales)
    state.step += 1
    return metrics


def _loop(stage: Stage, log: RunLog | None, is_asked: Callable[[], bool]) -> None:
    """Step until the recipe's last step, or until asked to stop; log, evaluate and save on the way."""
    recipe, state, loader, world = stage.recipe, stage.state, stage.loader, stage.world
    run, last = recipe.run, recipe.optimizer.steps
    best_db = log.best_db() if log is not None else math.inf
    speed = Speed.measured(stage) if state.step < last else None
    while state.step < last:
        metrics = one_step(stage)
        may_stop = world.count == 1 or state.step % AGREE_EVERY == 0
        is_stopped = may_stop and world.agrees_to_stop(is_asked(), loader.device)
        is_last = state.step == last or is_stopped
        is_logged, is_evaluated, is_saved = (
            state.step % every == 0 or is_last
            for every in (run.log_every, run.evaluate_every, run.save_every)
        )
        is_written = is_logged or is_evaluated or is_saved
        # Checked before anything is written, so that what is saved is sound; a CPU need not wait for itself.
        numbers = checked(stage, metrics) if is_written or loader.device.type == "cpu" else {}
        if log is not None and is_logged and speed is not None:
            log.write(state.step, **numbers, **speed.figures(stage))
        if log is not None and is_evaluated and recipe.data.validation and not is_stopped:
            best_db = evaluate_now(stage, log, best_db)
        if log is not None and is_saved and (is_stopped or not int(state.skipped[1])):
            # In this order, so that a run whose state is there has its weights there.
            save_average(recipe, state, run.folder / "last.safetensors")
            state.save(run.folder / "state.pt")
        if is_written:
            world.wait()
        if is_stopped:
            logger.warning("stopped by SIGTERM after step %d: continue with --resume", state.step)
            return


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast crops are made and used, over all processes."""

    loader_crops_per_s: float
    began_s: float
    first_step: int

    @classmethod
    def measured(cls, stage: Stage) -> "Speed":
        """Measure the loader alone, and start the clock of the steps."""
        loader_crops_per_s = stage.loader.crops_per_s() * stage.world.count
        return cls(
            loader_crops_per_s=loader_crops_per_s, began_s=time.monotonic(), first_step=stage.state.step
        )

    def figures(self, stage: Stage) -> dict[str, float]:
        """Return the rates so far; warn once where the loader has too little to spare."""
        steps = stage.state.step - self.first_step
        crops_per_s = steps * stage.loader.batch_size / (time.monotonic() - self.began_s)
        if steps <= stage.recipe.run.log_every and self.loader_crops_per_s < LOADER_HEADROOM * crops_per_s:
            logger.warning(
                "crops are made at %.0f a second and used at %.0f: raise data.workers",
                self.loader_crops_per_s,
                crops_per_s,
            )
        factor = decay_factor(stage.state.step - 1, stage.recipe.optimizer)
        return {
            "learning_rate": stage.recipe.optimizer.learning_rate * factor,
            "crops_per_s": crops_per_s,
            "loader_crops_per_s": self.loader_crops_per_s,
        }


def checked(stage: Stage, metrics: StepMetrics) -> dict[str, float]:
    """Read a step's numbers off the devices; steps that were left out are counted, and no number of a run.

    Raises:
        TrainingError: too many steps in a row were not finite, or the last one was not.
    """
    names = ["loss", "gradient_norm", *(f"loss/{name}" for name in metrics.parts)]
    values = torch.stack([metrics.loss, metrics.gradient_norm, *metrics.parts.values()])
    numbers = dict(zip(names, stage.world.mean(values).tolist(), strict=True))
    skipped, in_a_row = (int(count) for count in stage.state.skipped)
    is_last = stage.state.step == stage.recipe.optimizer.steps
    if in_a_row > (0 if is_last else stage.recipe.optimizer.nan_limit):
        raise TrainingError(
            f"{in_a_row} steps in a row were not finite, the loss is {numbers['loss']} and its gradient "
            f"{numbers['gradient_norm']}: lower optimizer.learning_rate, set optimizer.gradient_clip, or run in fp32"
        )
    if len(metrics.parts) == 1:
        del numbers[names[-1]]
    finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return {**finite, "skipped_steps": skipped} if skipped else finite


def evaluate_now(stage: Stage, log: RunLog, best_db: float) -> float:
    """Measure, show samples, and keep the averaged weights where they are the best so far; return the best."""
    recipe, state = stage.recipe, stage.state
    figures, samples = validated(recipe, state)
    log.write(state.step, **figures)
    for number, pixels in enumerate(samples):
        log.show(state.step, f"low | restored | high/{number}", pixels)
    current_db = next(iter(figures.values()))
    if current_db > best_db:
        save_average(recipe, state, recipe.run.folder / "best.safetensors")
    return max(current_db, best_db)


def save_average(recipe: Recipe, state: TrainState, path: Path) -> None:
    """Write the averaged weights as a model file that says how it was made."""
    notes = {"recipe": json.dumps(asdict(recipe), default=str), "steps": str(state.step)}
    save_checkpoint(path, state.model.config, state.ema, metadata=notes)
