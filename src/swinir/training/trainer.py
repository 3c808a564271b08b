"""A run from its recipe to its weights: begin or continue, step, measure, save, stop."""

import json
import logging
import math
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import torch

from swinir.engine.hardware import is_cpu
from swinir.errors import TrainingError
from swinir.training.distributed import join_world
from swinir.training.log import RunLog
from swinir.training.preparation import TrainingRun, prepare_run
from swinir.training.recipe import Recipe
from swinir.training.schedule import decay_factor, learning_rate
from swinir.training.state import TrainState
from swinir.training.step import StepMetrics, draw_drop_path, train_step
from swinir.training.validation import validate
from swinir.weights import save_checkpoint

logger = logging.getLogger(__name__)

# A loader slower than this many times the step makes the device wait now and then.
LOADER_HEADROOM = 3
# Steps between two times that the processes of a run ask each other whether to stop.
AGREE_EVERY = 10
# Seeds of stochastic depth must not be those of crops.
DEPTH_STREAM = 0x6465707468


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
    with join_world(device) as (world, own_device), watch_sigterm() as is_asked:
        # Nobody makes the folder before all have looked.
        world.wait()
        run = prepare_run(recipe, own_device, world, resume=resume)
        log = RunLog(make_folder(recipe.run.folder), run.state.step) if world.is_first else nullcontext()
        with log as writer, torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False):
            _loop(run, writer, is_asked)
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


def make_folder(folder: Path) -> Path:
    """Make the run's folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder} cannot be made ({error.strerror}): choose another run.folder"
        ) from error
    return folder


@contextmanager
def watch_sigterm() -> Generator[Callable[[], bool]]:
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


def one_step(run: TrainingRun) -> StepMetrics:
    """Do the step that is next, and count it."""
    recipe, state, loader = run.recipe, run.state, run.loader
    factor = decay_factor(state.step, recipe.optimizer)
    state.set_learning_rates(
        factor * recipe.optimizer.learning_rate,
        muon=factor * recipe.optimizer.muon_learning_rate,
        discriminator=factor * recipe.loss.discriminator_learning_rate,
    )
    scales = None
    if recipe.model.drop_path:
        scales = draw_drop_path(
            torch.Generator().manual_seed(loader.seed_of(state.step, DEPTH_STREAM)),
            num_layers=sum(recipe.model.config.depths),
            batch_size=loader.batch_size,
            drop_path=recipe.model.drop_path,
        )
        # Drawn for all processes, so that their number does not matter.
        scales = scales[:, loader.shard.rows].to(loader.device)
    metrics = train_step(state, loader.batch(state.step), run.objective, run.options, scales)
    state.step += 1
    return metrics


def _loop(run: TrainingRun, log: RunLog | None, is_asked: Callable[[], bool]) -> None:
    """Step until the recipe's last step, or until asked to stop; log, evaluate and save on the way."""
    recipe, state, loader, world = run.recipe, run.state, run.loader, run.world
    schedule, last = recipe.run, recipe.optimizer.steps
    best_db = log.best_db() if log is not None else math.inf
    throughput = Throughput.start(run) if state.step < last else None
    while state.step < last:
        metrics = one_step(run)
        may_stop = world.count == 1 or state.step % AGREE_EVERY == 0
        is_stopped = may_stop and world.agrees_to_stop(is_asked(), loader.device)
        is_last = state.step == last or is_stopped
        is_logged, is_evaluated, is_saved = (
            state.step % every == 0 or is_last
            for every in (schedule.log_every, schedule.evaluate_every, schedule.save_every)
        )
        is_written = is_logged or is_evaluated or is_saved
        # Checked before anything is written, so that what is saved is sound; a CPU need not wait for itself.
        numbers = read_metrics(run, metrics) if is_written or is_cpu(loader.device) else {}
        if log is not None and is_logged and throughput is not None:
            log.write(state.step, **numbers, **throughput.figures(run))
        if log is not None and is_evaluated and recipe.data.validation and not is_stopped:
            best_db = evaluate_now(run, log, best_db)
        if log is not None and is_saved and (is_stopped or not int(state.skipped[1])):
            # In this order, so that a run whose state is there has its weights there.
            save_average(recipe, state, schedule.folder / "last.safetensors")
            state.save(schedule.folder / "state.pt")
        if is_written:
            world.wait()
        if is_stopped:
            logger.warning("stopped by SIGTERM after step %d: continue with --resume", state.step)
            return


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """How fast crops are made and used, over all processes."""

    loader_crops_per_s: float
    began_s: float
    first_step: int

    @classmethod
    def start(cls, run: TrainingRun) -> "Throughput":
        """Measure the loader alone, and start the clock of the steps."""
        loader_crops_per_s = run.loader.crops_per_s() * run.world.count
        return cls(loader_crops_per_s=loader_crops_per_s, began_s=time.monotonic(), first_step=run.state.step)

    def figures(self, run: TrainingRun) -> dict[str, float]:
        """Return the rates so far; warn once where the loader has too little to spare."""
        steps = run.state.step - self.first_step
        crops_per_s = steps * run.loader.batch_size / (time.monotonic() - self.began_s)
        if steps <= run.recipe.run.log_every and self.loader_crops_per_s < LOADER_HEADROOM * crops_per_s:
            logger.warning(
                "crops are made at %.0f a second and used at %.0f: raise data.workers",
                self.loader_crops_per_s,
                crops_per_s,
            )
        return {
            "learning_rate": learning_rate(run.state.step - 1, run.recipe.optimizer),
            "crops_per_s": crops_per_s,
            "loader_crops_per_s": self.loader_crops_per_s,
        }


def read_metrics(run: TrainingRun, metrics: StepMetrics) -> dict[str, float]:
    """Read a step's numbers off the devices; steps that were left out are counted, and no number of a run.

    Raises:
        TrainingError: too many steps in a row were not finite, or the last one was not.
    """
    names = ["loss", "gradient_norm", *(f"loss/{name}" for name in metrics.parts)]
    values = torch.stack([metrics.loss, metrics.gradient_norm, *metrics.parts.values()])
    numbers = dict(zip(names, run.world.mean(values).tolist(), strict=True))
    skipped, in_a_row = (int(count) for count in run.state.skipped)
    is_last = run.state.step == run.recipe.optimizer.steps
    if in_a_row > (0 if is_last else run.recipe.optimizer.nan_limit):
        raise TrainingError(
            f"{in_a_row} steps in a row were not finite, the loss is {numbers['loss']} and its gradient "
            f"{numbers['gradient_norm']}: lower optimizer.learning_rate, set optimizer.gradient_clip, or run in fp32"
        )
    if len(metrics.parts) == 1:
        del numbers[names[-1]]
    finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return {**finite, "skipped_steps": skipped} if skipped else finite


def evaluate_now(run: TrainingRun, log: RunLog, best_db: float) -> float:
    """Measure, show samples, and keep the averaged weights where they are the best so far; return the best."""
    recipe, state = run.recipe, run.state
    figures, samples = validate(recipe, state)
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
