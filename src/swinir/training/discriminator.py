"""The discriminator of a GAN stage: a U-Net that scores every pixel."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from swinir.errors import UsageError

SLOPE = 0.2
# Halvings of the U-Net: sides must divide by 2 to this power.
NUM_STAGES = 3


class UNetDiscriminator(nn.Module):
    """A U-Net with spectral normalisation (Wang et al. 2021, "Real-ESRGAN", section 3.3), 4.4 M parameters.

    Takes images [b, in_channels, h, w] in [0, 1], sides multiples of 8, and returns a logit for each pixel,
    [b, 1, h, w]: above 0 where it takes the pixel for a real one.
    """

    def __init__(self, in_channels: int = 3, base_channels: int = 64) -> None:
        super().__init__()
        widths = [base_channels * 2**stage for stage in range(NUM_STAGES + 1)]
        self.first = nn.Conv2d(in_channels, base_channels, 3, padding=1)
        self.down = nn.ModuleList(
            spectral_norm(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False))
            for width in widths[:-1]
        )
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(2 * width, width, 3, padding=1, bias=False)) for width in widths[-2::-1]
        )
        self.smooth = nn.ModuleList(
            spectral_norm(nn.Conv2d(base_channels, base_channels, 3, padding=1, bias=False)) for _ in range(2)
        )
        self.last = nn.Conv2d(base_channels, 1, 3, padding=1)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        """Judge every pixel of a batch.

        Raises:
            UsageError: a side is no multiple of 8.
        """
        if any(side % 2**NUM_STAGES for side in image.shape[-2:]):
            raise UsageError(
                f"the image is {tuple(image.shape)}, but the discriminator needs sides of multiples of "
                f"{2**NUM_STAGES}"
            )
        features = activated(self.first(image))
        skipped: list[Tensor] = []
        for convolution in self.down:
            skipped.append(features)
            features = activated(convolution(features))
        for convolution in self.up:
            larger = functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = activated(convolution(larger)) + skipped.pop()
        for convolution in self.smooth:
            features = activated(convolution(features))
        return self.last(features)


def activated(features: Tensor) -> Tensor:
    """Apply the leaky ReLU that follows every convolution but the last."""
    return functional.leaky_relu(features, SLOPE)
