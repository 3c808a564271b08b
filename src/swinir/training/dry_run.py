"""What a run would be: its plan, its memory and its hours, from a few steps that are thrown away."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from swinir.training.distributed import World
from swinir.training.preparation import prepare_run
from swinir.training.recipe import Recipe
from swinir.training.trainer import one_step

# The first step builds caches, and where it is compiled takes minutes; the others are timed.
TIMED_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """A run's plan; crops per second and bytes are of this process's device, measured."""

    recipe: Recipe
    device: str
    precision: str
    backend: str
    num_parameters: int
    num_megapixels: float
    num_crops: int
    loader_crops_per_s: float
    step_s: float
    peak_bytes: int
    state_bytes: int

    @property
    def hours(self) -> float:
        """Estimated hours of the whole run on this device, without evaluations."""
        return self.step_s * self.recipe.optimizer.steps / 3600

    def lines(self) -> Iterator[tuple[str, str]]:
        """Say the plan as names and values, in the order of a run."""
        recipe, optimizer = self.recipe, self.recipe.optimizer
        model, data = recipe.model, recipe.data
        start = f", from {model.start_from}" if model.start_from else ", from scratch"
        changes = "".join(f", {name} {value}" for name, value in model.changes.items())
        yield "network", f"{model.variant}{changes}, {self.num_parameters:,} parameters{start}"
        yield "backend", self.backend
        yield "pictures", f"{self.num_megapixels:.1f} megapixels of {data.train or data.train_hq}"
        yield "degradation", f"{recipe.degradation.kind}"
        yield (
            "batch",
            f"{data.batch_size} crops of {data.crop_px}×{data.crop_px}, in {optimizer.accumulate} parts",
        )
        yield "steps", f"{optimizer.steps:,} ({self.num_crops:,} crops)"
        yield (
            "rate",
            f"{optimizer.learning_rate:g}, {optimizer.decay}, {optimizer.warmup_steps} steps of warm-up",
        )
        yield "precision", f"{self.precision} on {self.device}"
        yield "memory", f"{self.peak_bytes / 2**20:,.0f} MiB at the peak"
        yield "state file", f"{self.state_bytes / 2**20:,.1f} MiB"
        yield "loader", f"{self.loader_crops_per_s:,.0f} crops/s"
        yield "step", f"{self.step_s:.3g} s, {data.batch_size / self.step_s:,.1f} crops/s"
        yield "hours", f"{self.hours:,.2f}"
        yield "folder", str(recipe.run.folder)


def estimate_run(recipe: Recipe, device: torch.device) -> DryRun:
    """Read everything that the run would read, do a few steps, and begin no run.

    Raises:
        DataError, TrainingError, WeightsError: what would stand in the run's way.
    """
    run = prepare_run(recipe, device, World(), resume=False)
    loader_crops_per_s = run.loader.crops_per_s()
    one_step(run)
    began = time.monotonic()
    for _ in range(TIMED_STEPS):
        one_step(run)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return DryRun(
        recipe=recipe,
        device=str(device),
        precision=str(run.options.dtype).removeprefix("torch."),
        backend=f"{run.state.model.backend.name}: {run.state.model.backend.reason}",
        num_parameters=sum(parameter.numel() for parameter in run.state.model.parameters()),
        num_megapixels=run.loader.num_pixels / 1e6,
        num_crops=recipe.optimizer.steps * recipe.data.batch_size,
        loader_crops_per_s=loader_crops_per_s,
        step_s=(time.monotonic() - began) / TIMED_STEPS,
        peak_bytes=peak_bytes(device),
        state_bytes=sum(tensor.nbytes for tensor in run.state.tensors()),
    )


def peak_bytes(device: torch.device) -> int:
    """Return the most memory of the device, or of this process on a CPU, so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # noqa: PLC0415  only POSIX systems have it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
