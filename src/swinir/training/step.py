"""One training step: loss, gradients, optimizer, average; a step whose gradient is not finite changes nothing."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from swinir.data import Batch
from swinir.model.blocks import SwinTransformerBlock
from swinir.training.losses import Criterion, discriminator_gan_loss, generator_gan_loss
from swinir.training.perceptual import PerceptualLoss
from swinir.training.state import Adversary, TrainState


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the network minimises: a weighted sum; what has no weight is not computed."""

    pixel: Criterion
    pixel_weight: float = 1.0
    perceptual: PerceptualLoss | None = None
    perceptual_weight: float = 0.0
    gan_weight: float = 0.0

    def parts(
        self,
        restored: Float[Tensor, "b c h w"],
        hq: Float[Tensor, "b c h w"],
        discriminator: nn.Module | None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the weighted parts, by name; their sum is the loss."""
        parts: dict[str, Tensor] = {}
        if self.pixel_weight:
            parts["pixel"] = self.pixel_weight * self.pixel(restored, hq)
        if self.perceptual is not None:
            parts["perceptual"] = self.perceptual_weight * self.perceptual(restored, hq)
        if discriminator is not None:
            parts["gan"] = self.gan_weight * generator_gan_loss(discriminator(restored))
        return parts


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """What one step measured; tensors, because reading a number would make the device wait."""

    loss: Float[Tensor, ""]
    gradient_norm: Float[Tensor, ""]
    parts: Mapping[str, Float[Tensor, ""]]


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What stays the same in every step of a run."""

    dtype: torch.dtype
    gradient_clip: float
    ema_decay: float
    accumulate: int = 1
    discriminator_steps_before: int = 0


def train_step(
    state: TrainState,
    batch: Batch,
    objective: Objective,
    options: StepOptions,
    drop_path_scales: Float[Tensor, "layers b 2"] | None = None,
) -> StepMetrics:
    """Do one step on the batch; changes ``state``, not its number of steps."""
    parts = batch.parts(options.accumulate)
    scales = [None] * len(parts) if drop_path_scales is None else drop_path_scales.chunk(len(parts), dim=1)
    is_frozen = state.adversary is not None and state.step < options.discriminator_steps_before
    sums: dict[str, Tensor] = {}
    restored: list[Tensor] = []
    for number, part in enumerate(parts):
        set_drop_path_scales(state.model, scales[number])
        with unsynchronised(state.network, unless=number == len(parts) - 1):
            images, losses = _generator_pass(state, part, objective, options, is_frozen=is_frozen)
        restored.append(images)
        _add(sums, losses, options.accumulate)
    set_drop_path_scales(state.model, None)
    norm = torch.zeros((), device=batch.lq.device) if is_frozen else _update(state, options)
    if state.adversary is not None:
        _discriminator_step(state.adversary, parts, restored, options, sums)
    generator = [value for name, value in sums.items() if name != "discriminator"]
    return StepMetrics(loss=torch.stack(generator).sum(), gradient_norm=norm, parts=sums)


def _generator_pass(
    state: TrainState,
    batch: Batch,
    objective: Objective,
    options: StepOptions,
    *,
    is_frozen: bool,
) -> tuple[Float[Tensor, "b c h w"], dict[str, Float[Tensor, ""]]]:
    """Restore a part of the batch and add its gradient; return what was restored, and the losses."""
    adversary = state.adversary
    with torch.set_grad_enabled(not is_frozen):
        with _computing_in(options.dtype, batch.lq.device):
            restored = state.network(batch.lq).float()
        if adversary is not None:
            # Its own parameters learn from its own loss alone.
            adversary.discriminator.requires_grad_(False)
        with _computing_in(options.dtype, batch.lq.device):
            judge = None if adversary is None else adversary.discriminator
            losses = objective.parts(restored, batch.hq, judge)
        if adversary is not None:
            adversary.discriminator.requires_grad_(True)
        if not is_frozen:
            (torch.stack(list(losses.values())).sum() / options.accumulate).backward()
    return restored.detach(), losses


def _update(state: TrainState, options: StepOptions) -> Float[Tensor, ""]:
    """Clip, step and average; return the norm of the gradient. A gradient that is not finite is left out."""
    norm = torch.nn.utils.clip_grad_norm_(
        list(state.model.parameters()), options.gradient_clip or math.inf, foreach=True
    )
    state.count_skipped(~norm.isfinite())
    step_unless(state.optimizer, state.is_skipped)
    if state.muon is not None:
        state.muon.step_unless(state.is_skipped)
    state.update_average(options.ema_decay)
    return norm.detach()


def _discriminator_step(
    adversary: Adversary,
    parts: list[Batch],
    restored: list[Tensor],
    options: StepOptions,
    sums: dict[str, Tensor],
) -> None:
    for number, (part, fake) in enumerate(zip(parts, restored, strict=True)):
        is_last = number == len(parts) - 1
        with unsynchronised(adversary.network, unless=is_last):
            with _computing_in(options.dtype, fake.device):
                # In one pass, so that processes meet once and both are judged by the same weights.
                logits = adversary.network(torch.cat([part.hq, fake]))
            real_logits, fake_logits = logits.chunk(2)
            loss = discriminator_gan_loss(real_logits, fake_logits)
            (loss / options.accumulate).backward()
        _add(sums, {"discriminator": loss}, options.accumulate)
    gradients = [p.grad for p in adversary.discriminator.parameters() if p.grad is not None]
    bad = ~torch.nn.utils.get_total_norm(gradients, foreach=True).isfinite()
    step_unless(adversary.optimizer, bad.float())


def step_unless(optimizer: torch.optim.Adam, is_bad: Float[Tensor, ""]) -> None:
    """Step, or where ``is_bad`` is 1 do nothing; fused Adam takes that from the device, as a scaler tells it."""
    optimizer.found_inf = is_bad  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def unsynchronised(network: nn.Module, *, unless: bool) -> AbstractContextManager[None]:
    """Keep processes from exchanging gradients that are not complete yet."""
    if unless or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()


def set_drop_path_scales(network: nn.Module, scales: Float[Tensor, "layers b 2"] | None) -> None:
    """Tell every transformer layer what its branches are multiplied by in this batch."""
    blocks = [module for module in network.modules() if isinstance(module, SwinTransformerBlock)]
    for index, block in enumerate(blocks):
        block.drop_path_scales = None if scales is None else scales[index]


def draw_drop_path(
    generator: torch.Generator, *, num_layers: int, batch_size: int, drop_path: float
) -> Float[Tensor, "layers b 2"]:
    """Draw which branches are left out of which crop, more of them the deeper (Huang et al. 2016, equation 4).

    Args:
        generator: decides everything.
        num_layers: layers; the first is never left out, the last with probability ``drop_path``.
        batch_size: crops.
        drop_path: in [0, 1).

    Returns:
        0, or 1 over the probability of staying, so that the mean is 1.
    """
    stay = 1 - torch.linspace(0, drop_path, num_layers)[:, None, None]
    is_kept = torch.rand(num_layers, batch_size, 2, generator=generator) < stay
    return is_kept / stay


def _computing_in(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def _add(sums: dict[str, Tensor], losses: Mapping[str, Tensor], count: int) -> None:
    for name, value in losses.items():
        sums[name] = sums.get(name, 0) + value.detach() / count
