"""What is benchmarked: a network, its parameters and an image."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from swinir.engine import Restorer
from swinir.errors import UnknownModelError
from swinir.model import VARIANTS, SwinIR, SwinIRConfig, flops
from swinir.model.build import build
from swinir.ops import Backend
from swinir.weights import catalog, load_checkpoint


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """Restore ``image``, or a batch of images at once, with one network.

    Attributes:
        restorer: this package's own method, which has the configuration and the precision.
        state_dict: the parameters, which every method of the same network gets.
        image: float32 in [0, 1], [B, C, H, W], on the restorer's device.
        threads: of the CPU, for every method.
    """

    restorer: Restorer
    state_dict: Mapping[str, Tensor]
    image: Float[Tensor, "b c h w"]
    threads: int

    @property
    def multiply_adds(self) -> int:
        """Of restoring the batch once."""
        return len(self.image) * flops.multiply_adds(self.restorer.config, *self.image.shape[-2:])


def find_network(model: str) -> tuple[SwinIRConfig, Mapping[str, Tensor], str, str]:
    """Load ``model``: a weights file or the name of a model that is here, else a variant with random weights.

    Returns:
        Configuration, parameters, the name to show, and where the parameters came from.

    Raises:
        UnknownModelError: it is none of these.
    """
    try:
        file = catalog.resolve(model)
    except UnknownModelError:
        if model not in VARIANTS:
            raise
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return VARIANTS[model], SwinIR(VARIANTS[model]).state_dict(), model, "random"
    config, state_dict = load_checkpoint(file)
    return config, state_dict, file.name, file.path.name


def build_network(workload: Workload, backend: Backend) -> SwinIR:
    """Build the workload's network for inference, its layers computed by ``backend``."""
    network = build(workload.restorer.config, workload.state_dict).to(workload.image.device)
    network.use_backend(backend)
    return network


def draw_image(
    channels: int, size: tuple[int, int], generator: torch.Generator, *, batch: int = 1
) -> Float[Tensor, "b c h w"]:
    """Draw images of uniform noise in [0, 1]."""
    return torch.rand(batch, channels, *size, generator=generator)
