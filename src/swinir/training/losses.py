"""What training minimises."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Criterion = Callable[[Tensor, Tensor], Tensor]


def l1(restored: Float[Tensor, "b c h w"], hq: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference (equation 8 of Liang et al. 2021)."""
    return (restored - hq).abs().mean()


def charbonnier(
    restored: Float[Tensor, "b c h w"], hq: Float[Tensor, "b c h w"], epsilon: float = 1e-3
) -> Float[Tensor, ""]:
    """Mean of sqrt(difference² + epsilon²), the absolute value without its corner (Charbonnier et al. 1994).

    The published trainer adds 1e-9 under the root, which is an epsilon of sqrt(1e-9) = 3.16e-5.
    """
    return ((restored - hq).square() + epsilon**2).sqrt().mean()


def generator_gan_loss(fake_logits: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Cross-entropy of restored pixels that ought to pass for real ones (Goodfellow et al. 2014, non-saturating)."""
    return functional.softplus(-fake_logits.float()).mean()


def discriminator_gan_loss(
    real_logits: Float[Tensor, "b 1 h w"], fake_logits: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Cross-entropy of real pixels, plus that of restored ones, which ought to be told from them."""
    return functional.softplus(-real_logits.float()).mean() + functional.softplus(fake_logits.float()).mean()
