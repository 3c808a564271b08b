"""One training step, and the loop around it."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.data import Batch, CropLoader, image_files, super_resolution_pairs
from swinir.engine import Restorer, multiplies_bf16
from swinir.errors import TrainingError
from swinir.evaluation import Protocol, evaluate
from swinir.training.log import PSNR_PREFIX, RunLog
from swinir.training.losses import Criterion, l1
from swinir.training.recipe import ComputePrecision, Recipe
from swinir.training.schedule import learning_rate
from swinir.training.start import bypass_body, fit_reconstruction
from swinir.training.state import TrainState
from swinir.weights import catalog, load_checkpoint, save_checkpoint

# Batches that the reconstruction is solved from: some 100,000 pixels are many for its 541 unknowns.
FIT_PIXELS = 100_000


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """What one step measured; tensors, because reading a number would make the device wait."""

    loss: Float[Tensor, ""]
    gradient_norm: Float[Tensor, ""]


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What stays the same in every step of a run."""

    dtype: torch.dtype
    gradient_clip: float
    ema_decay: float


def train_step(state: TrainState, batch: Batch, criterion: Criterion, options: StepOptions) -> StepMetrics:
    """Do one step of Adam on the batch and move the running average along; changes ``state``, not its step."""
    device = batch.lq.device.type
    is_low_precision = options.dtype is not torch.float32
    with torch.autocast(device, options.dtype, enabled=is_low_precision):
        restored = state.model(batch.lq)
    loss = criterion(restored.float(), batch.hq)
    loss.backward()
    parameters = list(state.model.parameters())
    limit = options.gradient_clip or math.inf
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.update_average(options.ema_decay)
    return StepMetrics(loss=loss.detach(), gradient_norm=norm.detach())


def fit(recipe: Recipe, *, resume: bool = False, device: torch.device | None = None) -> Path:
    """Train as the recipe says; return the file of the averaged weights.

    The run's folder receives ``state.pt`` (to resume from), ``last.safetensors`` and ``best.safetensors``
    (averaged weights, the best by PSNR on the first validation set, if there is one), ``log.jsonl`` and
    TensorBoard's events.

    Args:
        recipe: the run.
        resume: continue from ``state.pt`` in the run's folder, exactly where it stopped.
        device: where to train; None takes a GPU when there is one.

    Raises:
        DataError, TrainingError, WeightsError: what stands in the way, named.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = recipe.run.folder
    state_file = folder / "state.pt"
    if state_file.exists() and not resume:
        raise TrainingError(
            f"{folder} holds a run already: add --resume to continue it, or choose another run.folder"
        )
    if resume and not state_file.exists():
        raise TrainingError(f"there is no run to resume in {folder}: {state_file} does not exist")
    for validation in recipe.data.validation.values():
        # A wrong path is told now, not after the hours before the first evaluation.
        image_files(validation)
    loader = CropLoader.from_folder(
        recipe.data.train,
        channels=recipe.model.config.in_channels,
        scale=recipe.model.config.scale,
        crop_px=recipe.data.crop_px,
        batch_size=recipe.data.batch_size,
        seed=recipe.run.seed,
        device=device,
    )
    if resume:
        state = created(recipe, device)
        state.load(state_file)
    else:
        state = started(recipe, loader, device)
    with (
        RunLog(made(folder), state.step) as log,
        torch.backends.cudnn.flags(deterministic=True, benchmark=False),
    ):
        _loop(recipe, state, loader, log)
    return folder / "last.safetensors"


def made(folder: Path) -> Path:
    """Make the run's folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be made ({error.strerror}): choose another run.folder"
        ) from error
    return folder


def created(
    recipe: Recipe, device: torch.device, start_from: Mapping[str, Tensor] | None = None
) -> TrainState:
    """Create the recipe's state at step 0."""
    return TrainState.create(
        recipe.model.config, recipe.optimizer, seed=recipe.run.seed, device=device, start_from=start_from
    )


def started(recipe: Recipe, loader: CropLoader, device: torch.device) -> TrainState:
    """Create the state a run begins with."""
    origin = None
    if recipe.model.start_from:
        _, origin = load_checkpoint(catalog.resolve(recipe.model.start_from))
    state = created(recipe, device, origin)
    if recipe.model.fit_reconstruction:
        if origin is None:
            bypass_body(state.model)
        # Steps of a training run count from 0: batches before that are its own and never seen again.
        num_batches = math.ceil(FIT_PIXELS / (loader.batch_size * loader.crop_px**2))
        fit_reconstruction(state.model, (loader.batch(-1 - n) for n in range(num_batches)))
        state.update_average(0)
    return state


def _loop(recipe: Recipe, state: TrainState, loader: CropLoader, log: RunLog) -> None:
    """Step until the recipe's last step; log, evaluate and save on the way."""
    run, optimizer = recipe.run, recipe.optimizer
    options = StepOptions(
        dtype=compute_dtype(run.precision, loader.device),
        gradient_clip=optimizer.gradient_clip,
        ema_decay=optimizer.ema_decay,
    )
    best_db = log.best_db()
    began, first = time.monotonic(), state.step
    while state.step < optimizer.steps:
        rate = learning_rate(state.step, optimizer)
        state.set_learning_rate(rate)
        metrics = train_step(state, loader.batch(state.step), l1, options)
        state.step += 1
        is_last = state.step == optimizer.steps
        is_logged, is_evaluated, is_saved = (
            state.step % every == 0 or is_last
            for every in (run.log_every, run.evaluate_every, run.save_every)
        )
        # Checked before anything is written, so that what is saved is sound.
        numbers = checked(metrics) if is_logged or is_evaluated or is_saved else {}
        if is_logged:
            crops_per_s = (state.step - first) * loader.batch_size / (time.monotonic() - began)
            log.write(state.step, **numbers, learning_rate=rate, crops_per_s=crops_per_s)
        if is_evaluated and recipe.data.validation:
            figures = evaluated(recipe, state)
            log.write(state.step, **figures)
            current_db = next(iter(figures.values()))
            if current_db > best_db:
                best_db = current_db
                save_average(recipe, state, run.folder / "best.safetensors")
        if is_saved:
            # In this order, so that a run whose state is there has its weights there.
            save_average(recipe, state, run.folder / "last.safetensors")
            state.save(run.folder / "state.pt")


def checked(metrics: StepMetrics) -> dict[str, float]:
    """Read a step's numbers off the device.

    Raises:
        TrainingError: the loss or its gradient is no longer finite.
    """
    loss, norm = metrics.loss.item(), metrics.gradient_norm.item()
    if not math.isfinite(loss + norm):
        raise TrainingError(
            f"the loss is {loss} and its gradient {norm}: lower optimizer.learning_rate, "
            "set optimizer.gradient_clip, or run in fp32"
        )
    return {"loss": loss, "gradient_norm": norm}


def compute_dtype(precision: ComputePrecision, device: torch.device) -> torch.dtype:
    """Choose what matrix products run in on this device."""
    if precision is ComputePrecision.FP32:
        return torch.float32
    if precision is ComputePrecision.BF16 or multiplies_bf16(device):
        return torch.bfloat16
    return torch.float32


def evaluated(recipe: Recipe, state: TrainState) -> dict[str, float]:
    """Return PSNR on Y of the averaged weights on every validation set, by the code of ``swinir evaluate``."""
    device = next(state.model.parameters()).device
    restorer = Restorer(state.model.config, state.ema, device=str(device), precision="fp32", tile=None)
    config = state.model.config
    figures: dict[str, float] = {}
    for name, folder in recipe.data.validation.items():
        pairs = super_resolution_pairs(folder, config.scale, config.in_channels)
        report = evaluate(restorer, pairs, data=name, task="super-resolution", protocol=Protocol.PAPER)
        figures[f"{PSNR_PREFIX}{name}"] = report.psnr_db
    return figures


def save_average(recipe: Recipe, state: TrainState, path: Path) -> None:
    """Write the averaged weights as a model file that says how it was made."""
    notes = {"recipe": json.dumps(asdict(recipe), default=str), "steps": str(state.step)}
    save_checkpoint(path, state.model.config, state.ema, metadata=notes)
