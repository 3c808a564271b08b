"""What a training run is made of: pictures, network, objective, built from the recipe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from swinir.data import CropLoader, Shard
from swinir.engine import multiplies_bf16
from swinir.errors import TrainingError
from swinir.options import Precision
from swinir.training.distributed import World
from swinir.training.initialization import bypass_body, fit_reconstruction
from swinir.training.losses import charbonnier, l1
from swinir.training.perceptual import PerceptualLoss, load_vgg19, vgg19_file
from swinir.training.recipe import Compilation, LossRecipe, PixelLoss, Recipe
from swinir.training.state import TrainState
from swinir.training.step import Objective, StepOptions
from swinir.training.validation import make_validation_set
from swinir.weights import catalog, load_checkpoint

# Batches that the reconstruction is solved from: some 100,000 pixels are many for its 541 unknowns.
FIT_PIXELS = 100_000


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A run that is ready to step."""

    recipe: Recipe
    state: TrainState
    loader: CropLoader
    objective: Objective
    options: StepOptions
    world: World


def prepare_run(recipe: Recipe, device: torch.device, world: World, *, resume: bool) -> TrainingRun:
    """Read pictures and weights, and build what a step needs."""
    for validation in recipe.data.validation.values():
        # A wrong path fails now, not after the hours before the first evaluation.
        make_validation_set(recipe, validation.name, validation).count_pictures()
    if recipe.model.start_from and not resume:
        # Nor does it fail after half a gigabyte of VGG19 has come.
        catalog.resolve(recipe.model.start_from)
    objective = build_objective(recipe.loss, device, world)
    loader = build_loader(recipe, device, world)
    if resume:
        state = create_state(recipe, device)
        state.load(recipe.run.folder / "state.pt")
    else:
        state = initial_state(recipe, loader, device)
    wrap_network(state, recipe.run.compilation, device, world)
    optimizer = recipe.optimizer
    options = StepOptions(
        dtype=compute_dtype(recipe.run.precision, device),
        gradient_clip=optimizer.gradient_clip,
        ema_decay=optimizer.ema_decay,
        accumulate=optimizer.accumulate,
        discriminator_steps_before=recipe.loss.discriminator_steps_before,
    )
    return TrainingRun(
        recipe=recipe, state=state, loader=loader, objective=objective, options=options, world=world
    )


def build_loader(recipe: Recipe, device: torch.device, world: World) -> CropLoader:
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
    source = data.train or data.train_hq
    assert source is not None  # the recipe was checked
    return CropLoader.from_folder(
        source,
        lq_source=data.train_lq,
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


def build_objective(loss: LossRecipe, device: torch.device, world: World) -> Objective:
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


def create_state(
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


def initial_state(recipe: Recipe, loader: CropLoader, device: torch.device) -> TrainState:
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
    state = create_state(recipe, device, origin)
    if recipe.model.fit_reconstruction:
        if origin is None:
            bypass_body(state.model)
        # Steps of a training run count from 0: batches before that are its own and never seen again.
        num_batches = math.ceil(FIT_PIXELS / (loader.batch_size * loader.crop_px**2))
        fit_reconstruction(state.model, (loader.batch(-1 - n) for n in range(num_batches)))
        state.update_average(0)
    return state


def wrap_network(state: TrainState, compilation: Compilation, device: torch.device, world: World) -> None:
    """Have the network compiled where that helps, and its gradients shared among the processes."""
    if compilation is Compilation.ON or (compilation is Compilation.AUTO and device.type == "cuda"):
        state.network = cast("nn.Module", torch.compile(state.model))
    if world.count > 1:
        ids = [device.index] if device.type == "cuda" else None
        state.network = DistributedDataParallel(state.network, device_ids=ids)
        if state.adversary is not None:
            state.adversary.network = DistributedDataParallel(state.adversary.discriminator, device_ids=ids)


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Choose what matrix products run in on this device."""
    if precision is Precision.FP32:
        return torch.float32
    if precision is Precision.BF16 or multiplies_bf16(device):
        return torch.bfloat16
    return torch.float32
