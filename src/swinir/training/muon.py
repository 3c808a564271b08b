"""Muon (Jordan 2024): momentum whose matrices are orthogonalised, so that every direction is learnt equally fast."""

import math
from collections.abc import Iterable, Mapping

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

# Coefficients of the quintic iteration: as steep at 0 as possible while singular values stay within 0.7 to 1.2.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
SMALLEST_NORM = 1e-7
# An orthogonal [m, n] update has the root mean square 1 / sqrt(max(m, n)); times this and that root it is as large
# as Adam's usually is (Liu et al. 2025, "Muon is scalable for LLM training", equation 4).
UPDATE_RMS = 0.2
# Published names of what turns features into features.
BODY = ("layers.", "conv_after_body.")


class Muon:
    """Updates matrices, all of one shape at once.

    Args:
        parameters: each of two axes, or four: a convolution is the matrix [out, in·k·k].
        momentum: of the running average of gradients, which is applied as Nesterov's.
        weight_decay: times the rate, what a step takes away from each weight.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float) -> None:
        self._momentum, self._weight_decay = momentum, weight_decay
        self._groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for parameter in parameters:
            shape = (len(parameter), parameter[0].numel())
            self._groups.setdefault(shape, []).append(parameter)
        self._averages = {
            shape: torch.zeros(len(members), *shape, device=members[0].device)
            for shape, members in self._groups.items()
        }
        devices = {members[0].device for members in self._groups.values()}
        # A tensor that is changed in place, so that a captured graph sees it.
        self.learning_rate = torch.zeros((), device=next(iter(devices), None))

    @torch.no_grad()
    def step_unless(self, is_bad: Float[Tensor, ""]) -> None:
        """Step and drop the gradients, or where ``is_bad`` is 1 only drop them; the device is not asked."""
        kept = 1 - is_bad
        rate = self.learning_rate * kept
        for shape, members in self._groups.items():
            gradients = torch.stack([_gradient(member).reshape(shape) for member in members])
            gradients = torch.where(is_bad > 0, 0.0, gradients)
            average = self._averages[shape]
            average.lerp_(gradients, (1 - self._momentum) * kept)
            updates = orthogonalize(gradients.lerp(average, self._momentum))
            updates *= rate * (UPDATE_RMS * math.sqrt(max(shape)))
            shrink = 1 - rate * self._weight_decay
            for member, update in zip(members, updates, strict=True):
                member.mul_(shrink).sub_(update.view_as(member))
                member.grad = None

    def tensors(self) -> list[Tensor]:
        """List what a step changes beside the parameters."""
        return list(self._averages.values())

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages of gradients by shape, [matrices, m, n]."""
        return {f"{rows}x{columns}": value for (rows, columns), value in self._averages.items()}


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def orthogonalize(matrices: Float[Tensor, "b m n"]) -> Float[Tensor, "b m n"]:
    """Move every singular value to about 1 and keep the singular vectors; a matrix of zeros stays one.

    Iterates X ← aX + (bA + cA²)X with A = XXᵀ, on the side that is smaller.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = rearrange(matrices, "b m n -> b n m").contiguous() if is_tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=SMALLEST_NORM)
    linear, cubic, quintic = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return rearrange(x, "b n m -> b m n") if is_tall else x


def split_parameters(
    parameters: Mapping[str, nn.Parameter], *, with_convolutions: bool = False
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Separate the weights of linear layers from all else: biases, norms, convolutions, position biases.

    With convolutions, those of the body are matrices too, not the first and those of the reconstruction.
    """
    matrices, rest = [], []
    for name, parameter in parameters.items():
        is_matrix = parameter.ndim == 2 and not name.endswith("relative_position_bias_table")
        if with_convolutions and parameter.ndim == 4:
            is_matrix = name.startswith(BODY)
        (matrices if is_matrix else rest).append(parameter)
    return matrices, rest
