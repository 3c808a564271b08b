"""The network of a Restorer, watched or changed."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from swinir import Restorer
from swinir.engine.forward import ForwardPass


class WatchedNetwork:
    """A network; what is listed is called with each batch before, in order, and with the result after."""

    def __init__(self, network: Callable[..., Tensor]) -> None:
        self.network = network
        self.checks: list[Callable[[Tensor], Any]] = []
        self.changes: list[Callable[[Tensor], Tensor]] = []

    def __call__(self, lq: Tensor, **options: Any) -> Tensor:
        for check in self.checks:
            check(lq)
        restored = self.network(lq, **options)
        for change in self.changes:
            restored = change(restored)
        return restored


def watch_network(restorer: Restorer) -> WatchedNetwork:
    """Put a watched network in the place of the network; the same one however often it is asked for."""
    forward_pass: Any = restorer.forward_pass
    assert isinstance(forward_pass, ForwardPass)
    if not isinstance(forward_pass.network, WatchedNetwork):
        forward_pass.network = WatchedNetwork(forward_pass.network)
    return forward_pass.network
