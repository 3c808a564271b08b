"""Networks with parameters that are given: nothing is drawn at random, and no generator moves."""

from collections.abc import Mapping

import torch
from torch import Tensor

from swinir.errors import UsageError
from swinir.model.config import SwinIRConfig
from swinir.model.swinir import SwinIR


def outline(config: SwinIRConfig) -> SwinIR:
    """Build a network of names and shapes alone, without memory for its parameters."""
    with torch.device("meta"):
        return SwinIR(config)


def build(config: SwinIRConfig, state_dict: Mapping[str, Tensor]) -> SwinIR:
    """Build a network for inference, in float32 on the CPU, with copies of the parameters.

    Raises:
        UsageError: the parameters are not those of ``config``.
    """
    network = outline(config)
    copies = {
        name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in state_dict.items()
    }
    try:
        network.load_state_dict(copies, assign=True)
    except RuntimeError as error:
        raise UsageError(f"the parameters are not those of this configuration: {error}") from error
    network.compute_buffers()
    # Buffers were made in PyTorch's default type, which may be another.
    return network.float().eval().requires_grad_(False)
