"""What training minimises."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Criterion = Callable[[Tensor, Tensor], Tensor]


def l1(restored: Float[Tensor, "b c h w"], hq: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference (equation 8 of Liang et al. 2021)."""
    return (restored - hq).abs().mean()
