"""Everything that a training run is at one step, and its file."""

import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from swinir.errors import TrainingError, UsageError
from swinir.files import written_beside
from swinir.model import SwinIR, SwinIRConfig
from swinir.ops import request_backend, select_training_backend
from swinir.options import BackendChoice
from swinir.training.discriminator import UNetDiscriminator
from swinir.training.initialization import parameters_that_fit
from swinir.training.muon import Muon, split_parameters
from swinir.training.recipe import OptimizerKind, OptimizerRecipe

# What a damaged file, or one that holds something else, fails with.
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
)


@dataclass(kw_only=True)
class Adversary:
    """The discriminator of a GAN stage, and its optimizer; ``network`` is what is called: the same, or wrapped."""

    discriminator: UNetDiscriminator
    network: nn.Module
    optimizer: torch.optim.Adam


@dataclass(kw_only=True)
class TrainState:
    """Network, running average of its parameters (EMA), the optimizers' moments, and the number of steps done.

    ``network`` is what is called: the model itself, compiled, or shared among processes. ``skipped`` counts the
    steps that were not finite: all of them, and those in a row. ``muon`` updates the matrices, where the
    recipe says so; ``optimizer`` all else.
    """

    model: SwinIR
    network: nn.Module
    ema: dict[str, Tensor]
    optimizer: torch.optim.Adam
    skipped: Float[Tensor, "2"]
    muon: Muon | None = None
    adversary: Adversary | None = None
    step: int = 0

    @classmethod
    def create(
        cls,
        config: SwinIRConfig,
        optimizer: OptimizerRecipe,
        *,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        start_from: Mapping[str, Tensor] | None = None,
        has_adversary: bool = False,
    ) -> "TrainState":
        """Start a run: parameters drawn from ``seed``, or taken from ``start_from`` where they fit.

        ``dtype`` is what products will be computed in, for which kernels are chosen.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SwinIR(config)
            discriminator = UNetDiscriminator(config.in_channels) if has_adversary else None
        if start_from:
            own = model.state_dict()
            model.load_state_dict({**own, **parameters_that_fit(start_from, own)})
        model.to(device)
        request = request_backend(BackendChoice.AUTO, device, os.environ)
        model.use_backend(select_training_backend(device, dtype, model.layer_shapes(), request))
        matrices, rest = [], list(model.parameters())
        if optimizer.kind is OptimizerKind.MUON:
            matrices, rest = split_parameters(
                dict(model.named_parameters()), with_convolutions=optimizer.muon_convolutions
            )
        state = cls(
            model=model,
            network=model,
            ema={name: value.detach().clone() for name, value in model.named_parameters()},
            optimizer=fused_adam(rest, optimizer.betas, device),
            muon=Muon(matrices, momentum=optimizer.muon_momentum, weight_decay=optimizer.muon_weight_decay)
            if matrices
            else None,
            skipped=torch.zeros(2, device=device),
        )
        if discriminator is not None:
            discriminator.to(device)
            state.adversary = Adversary(
                discriminator=discriminator,
                network=discriminator,
                optimizer=fused_adam(list(discriminator.parameters()), optimizer.betas, device),
            )
        return state

    def tensors(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        networks: list[tuple[nn.Module, torch.optim.Adam]] = [(self.model, self.optimizer)]
        if self.adversary is not None:
            networks.append((self.adversary.discriminator, self.adversary.optimizer))
        changed = [*self.ema.values(), self.skipped]
        if self.muon is not None:
            changed += self.muon.tensors()
        for network, optimizer in networks:
            changed += [p.data for p in network.parameters()] + list(network.buffers())
            changed += [value for slots in optimizer.state.values() for value in slots.values()]
        return changed

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average a part of 1 - ``decay`` of the way to the parameters; 0 makes it equal to them."""
        parameters = dict(self.model.named_parameters())
        average = get_ema_multi_avg_fn(decay)
        average(list(self.ema.values()), [parameters[name].detach() for name in self.ema], self.step)

    @property
    def is_skipped(self) -> Float[Tensor, ""]:
        """1 where the last step was not finite, else 0."""
        return (self.skipped[1] > 0).float()

    def count_skipped(self, is_bad: Bool[Tensor, ""]) -> None:
        """Count a step that is not finite, or that one is again; the device is not asked."""
        bad = is_bad.float()
        self.skipped += bad
        self.skipped[1] *= bad

    def set_learning_rates(self, adam: float, *, muon: float = 0.0, discriminator: float = 0.0) -> None:
        """Set the rates of the next step, in place, so that a captured graph sees them."""
        for group in self.optimizer.param_groups:
            group["lr"].fill_(adam)
        if self.muon is not None:
            self.muon.learning_rate.fill_(muon)
        if self.adversary is not None:
            for group in self.adversary.optimizer.param_groups:
                group["lr"].fill_(discriminator)

    def save(self, path: Path) -> None:
        """Write the state to one file that appears whole or not at all."""
        contents: dict[str, Any] = {
            "config": self.model.config.to_dict(),
            "step": self.step,
            "skipped": self.skipped,
            "model": {name: value.detach() for name, value in self.model.named_parameters()},
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "muon": {} if self.muon is None else self.muon.state_dict(),
        }
        if self.adversary is not None:
            contents["discriminator"] = self.adversary.discriminator.state_dict()
            contents["discriminator_optimizer"] = self.adversary.optimizer.state_dict()
        # In memory first: PyTorch's writer hides a full disk behind an error of its own.
        archive = BytesIO()
        torch.save(plain(contents), archive)
        with written_beside(path, TrainingError) as file:
            file.write(archive.getbuffer())

    def load(self, path: Path) -> None:
        """Continue from a file written by ``save``, in place.

        Raises:
            TrainingError: the file is damaged, or of another network.
        """
        device = next(self.model.parameters()).device
        try:
            # Whatever is no archive would reach PyTorch's oldest reader, which fails in too many ways.
            if not is_zipfile(path):
                raise UsageError("it is no file of torch.save, or cut short")
            contents: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            config = SwinIRConfig.from_dict(contents["config"])
            if config != self.model.config:
                raise TrainingError(
                    f"{path} is of another network: it holds {config}, the recipe asks for {self.model.config}"
                )
            if ("discriminator" in contents) != (self.adversary is not None):
                raise TrainingError(
                    f"{path} is of a run {'with' if 'discriminator' in contents else 'without'} a discriminator, "
                    "the recipe of one that is not: start a new run, with model.start_from"
                )
            self._copy_from(contents)
        except UNREADABLE as error:
            raise TrainingError(
                f"{path} holds no state of a run ({error}): continue from a copy of it, or start a new run"
            ) from error

    @torch.no_grad()
    def _copy_from(self, contents: Mapping[str, Any]) -> None:
        """Take over what ``save`` wrote; rates and betas stay the recipe's."""
        stored = contents["model"]
        copy_tensors(dict(self.model.named_parameters()), stored)
        copy_tensors(self.ema, contents["ema"])
        copy_moments(self.optimizer, contents["optimizer"])
        if self.muon is not None:
            copy_tensors(self.muon.state_dict(), contents["muon"])
        if self.adversary is not None:
            discriminator = self.adversary.discriminator
            copy_tensors(discriminator.state_dict(), contents["discriminator"])
            copy_moments(self.adversary.optimizer, contents["discriminator_optimizer"])
        self.skipped.copy_(contents["skipped"])
        self.step = int(contents["step"])


def copy_tensors(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Copy tensors by name, in place.

    Raises:
        UsageError: one is of another shape.
        LookupError: one is missing.
    """
    for name, mine in own.items():
        if mine.shape != stored[name].shape:
            raise UsageError(f"{name} is {tuple(stored[name].shape)} and not {tuple(mine.shape)}")
        mine.copy_(stored[name])


def copy_moments(optimizer: torch.optim.Adam, stored: Mapping[str, Any]) -> None:
    """Copy Adam's moments of every parameter, in place."""
    parameters = optimizer.param_groups[0]["params"]
    if len(parameters) != len(stored["state"]):
        raise UsageError(f"it has moments of {len(stored['state'])} parameters and not {len(parameters)}")
    for index, parameter in enumerate(parameters):
        copy_tensors(optimizer.state[parameter], stored["state"][index])


def fused_adam(
    parameters: Sequence[nn.Parameter], betas: tuple[float, ...], device: torch.device
) -> torch.optim.Adam:
    """Create Adam with its moments as zeros now, not in the first step, so that a run's tensors never change."""
    optimizer = torch.optim.Adam(
        parameters,
        lr=torch.zeros((), device=device),
        betas=(betas[0], betas[1]),
        fused=True,
        capturable=device.type == "cuda",
    )
    for parameter in parameters:
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def plain(value: Any) -> Any:
    """Copy nested dictionaries and lists with enums as text, which is all that a safe reader accepts."""
    if isinstance(value, dict):
        return {str(key) if isinstance(key, str) else key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
