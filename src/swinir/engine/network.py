"""A network as it restores: with given parameters, which stay as they are."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from swinir.errors import UsageError
from swinir.model import SwinIR, SwinIRConfig


class _NoRandomStart(TorchDispatchMode):
    """Skips drawing first values of parameters: they will be replaced, and the generator is nobody's."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default):
            # A value in any range, for trunc_normal_ draws again until all are in its own.
            return args[0].zero_()
        return func(*args, **(kwargs or {}))


def build(config: SwinIRConfig, state_dict: Mapping[str, Tensor]) -> SwinIR:
    """Build the network for inference only.

    Raises:
        UsageError: the parameters are not those of ``config``.
    """
    with _NoRandomStart():
        network = SwinIR(config)
    try:
        network.load_state_dict(state_dict)
    except RuntimeError as error:
        raise UsageError(f"the parameters are not those of this configuration: {error}") from error
    # Whatever the default type was while the layers were made.
    return network.float().eval().requires_grad_(False)
