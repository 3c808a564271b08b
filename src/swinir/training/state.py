"""Everything that a training run is at one step, and its file."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from swinir.errors import TrainingError
from swinir.files import written_beside
from swinir.model import SwinIR, SwinIRConfig
from swinir.ops import select_training_backend
from swinir.training.recipe import OptimizerRecipe

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
class TrainState:
    """Network, running average of its parameters (EMA), Adam's moments, and the number of steps done."""

    model: SwinIR
    ema: dict[str, Tensor]
    optimizer: torch.optim.Adam
    step: int = 0

    @classmethod
    def create(
        cls,
        config: SwinIRConfig,
        optimizer: OptimizerRecipe,
        *,
        seed: int,
        device: torch.device,
        start_from: Mapping[str, Tensor] | None = None,
    ) -> "TrainState":
        """Start a run: parameters drawn from ``seed``, or taken from ``start_from`` where name and shape agree.

        Raises:
            TrainingError: none of ``start_from`` fits.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SwinIR(config)
        if start_from:
            own = model.state_dict()
            same = {
                name: value
                for name, value in start_from.items()
                if name in own and own[name].shape == value.shape
            }
            if not same:
                raise TrainingError(
                    "no tensor of the model to start from fits this network: choose one of the same width"
                )
            model.load_state_dict({**own, **same})
        model.to(device)
        model.use_backend(select_training_backend(device))
        parameters = list(model.parameters())
        rate = torch.tensor(optimizer.learning_rate, device=device)
        adam = torch.optim.Adam(
            parameters,
            lr=rate,
            betas=(optimizer.betas[0], optimizer.betas[1]),
            fused=True,
            capturable=device.type == "cuda",
        )
        materialise(adam)
        ema = {name: value.detach().clone() for name, value in model.named_parameters()}
        return cls(model=model, ema=ema, optimizer=adam)

    def tensors(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        moments = [value for slots in self.optimizer.state.values() for value in slots.values()]
        return [*(p.data for p in self.model.parameters()), *self.ema.values(), *moments]

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average a part of 1 - ``decay`` of the way to the parameters; 0 makes it equal to them."""
        for name, parameter in self.model.named_parameters():
            self.ema[name].lerp_(parameter, 1 - decay)

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of the next step, in place, so that a captured graph sees it."""
        for group in self.optimizer.param_groups:
            group["lr"].fill_(rate)

    def save(self, path: Path) -> None:
        """Write the state to one file that appears whole or not at all."""
        contents = {
            "config": self.model.config.to_dict(),
            "step": self.step,
            "model": {name: value.detach() for name, value in self.model.named_parameters()},
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
        }
        with written_beside(path, TrainingError) as file:
            torch.save(plain(contents), file)

    def load(self, path: Path) -> None:
        """Continue from a file written by ``save``, in place.

        Raises:
            TrainingError: the file is damaged, or of another network.
        """
        device = next(self.model.parameters()).device
        try:
            # Whatever is no archive would reach PyTorch's oldest reader, which fails in too many ways.
            if not is_zipfile(path):
                raise ValueError("it is no file of torch.save, or cut short")
            contents: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            config = SwinIRConfig.from_dict(contents["config"])
            if config != self.model.config:
                raise TrainingError(
                    f"{path} is of another network: it holds {config}, the recipe asks for {self.model.config}"
                )
            self._copy_from(contents)
        except UNREADABLE as error:
            raise TrainingError(
                f"{path} holds no state of a run ({error}): continue from a copy of it, or start a new run"
            ) from error

    @torch.no_grad()
    def _copy_from(self, contents: Mapping[str, Any]) -> None:
        """Take over what ``save`` wrote; rates and betas stay the recipe's."""
        moments = contents["optimizer"]["state"]
        for index, (name, parameter) in enumerate(self.model.named_parameters()):
            own = self.optimizer.state[parameter]
            pairs = [
                (parameter, contents["model"][name]),
                (self.ema[name], contents["ema"][name]),
                *((own[slot], moments[index][slot]) for slot in own),
            ]
            for mine, stored in pairs:
                if mine.shape != stored.shape:
                    raise ValueError(f"{name} is {tuple(stored.shape)} and not {tuple(mine.shape)}")
                mine.copy_(stored)
        self.step = int(contents["step"])


def plain(value: Any) -> Any:
    """Copy nested dictionaries and lists with enums as text, which is all that a safe reader accepts."""
    if isinstance(value, dict):
        return {str(key) if isinstance(key, str) else key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def materialise(optimizer: torch.optim.Adam) -> None:
    """Create Adam's moments as zeros now, not in the first step, so that a run's tensors never change."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
