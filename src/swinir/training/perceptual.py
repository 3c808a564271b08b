"""Likeness as a network for recognition sees it: distances between the features of VGG19."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from swinir.errors import DownloadError, WeightsError
from swinir.weights.download import Source, cache_folder, fetch
from swinir.weights.official import read_pickle

# Channels of VGG19's convolutions (Simonyan and Zisserman 2015, table 1, column E), 0 for a pooling, up to conv5_4.
LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
# Where features are compared, before their ReLU, by their index among torchvision's layers, and what each weighs:
# conv1_2, conv2_2, conv3_4, conv4_4, conv5_4, as the published GAN stage has them.
FEATURE_WEIGHTS: Mapping[int, float] = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
# Below this side the last features have no pixel.
LEAST_PX = 16

# Mean and standard deviation of ImageNet's colours, RGB, of 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
# The file's own name ends in the first digits of its sha256.
VGG19_SHA256_BEGINS = "dcbb9e9d"


class PerceptualLoss(nn.Module):
    """Weighted L1 distance between VGG19's features of two batches (Johnson et al. 2016; SwinIR's weights).

    Args:
        weights: VGG19's parameters under torchvision's names, from ``load_vgg19``.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.features = vgg19_layers()
        self.load_state_dict(dict(weights))
        self.requires_grad_(False)
        self.eval()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, restored: Float[Tensor, "b 3 h w"], hq: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """Compare RGB images in [0, 1]; gradients flow to ``restored`` alone.

        Raises:
            ValueError: a side is too short for VGG19's five halvings.
        """
        if min(restored.shape[-2:]) < LEAST_PX:
            raise ValueError(f"images are {tuple(restored.shape)}, but VGG19 needs {LEAST_PX} pixels a side")
        with torch.no_grad():
            wanted = self.compared(hq)
        found = self.compared(restored)
        terms = [weight * (found[at] - wanted[at]).abs().mean() for at, weight in FEATURE_WEIGHTS.items()]
        return torch.stack(terms).sum()

    def compared(self, image: Float[Tensor, "b 3 h w"]) -> dict[int, Tensor]:
        """Return the features that are compared, float32, by their index."""
        features = (image - self.mean) / self.std
        found: dict[int, Tensor] = {}
        for index, layer in enumerate(self.features):
            features = layer(features)
            if index in FEATURE_WEIGHTS:
                found[index] = features.float()
        return found


def vgg19_layers() -> nn.Sequential:
    """Build VGG19's layers up to the last that is compared, in torchvision's places."""
    layers: list[nn.Module] = []
    channels = 3
    for width in LAYERS:
        if width:
            # Not in place: what is compared is what enters the ReLU.
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[: max(FEATURE_WEIGHTS) + 1])


def load_vgg19(path: Path) -> dict[str, Tensor]:
    """Read VGG19's parameters from a file of torchvision's, safely; what is not compared is left out.

    Raises:
        WeightsError: the file is missing, damaged, or holds another network.
    """
    try:
        with path.open("rb") as file:
            contents = read_pickle(file)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as VGG19's weights ({error}): see {VGG19_URL}") from error
    chosen: dict[str, Tensor] = {}
    for name, wanted in vgg19_layers().state_dict(prefix="features.").items():
        value = contents.get(name)
        if not isinstance(value, Tensor):
            raise WeightsError(f"{path} has no {name}: VGG19's weights are at {VGG19_URL}")
        if value.shape != wanted.shape:
            raise WeightsError(
                f"{name} in {path} is {tuple(value.shape)}, but VGG19's is {tuple(wanted.shape)}: see {VGG19_URL}"
            )
        if not value.isfinite().all():
            raise WeightsError(f"{name} in {path} is not finite: fetch {VGG19_URL} again")
        chosen[name] = value.float()
    return chosen


def vgg19_file(path: Path | None = None) -> Path:
    """Return a file of VGG19's weights: the given one, or the one that is downloaded once, 548 MiB.

    Raises:
        WeightsError: the given file does not exist.
        DownloadError: there is none yet, and it does not come.
    """
    if path is not None:
        if not path.is_file():
            raise WeightsError(
                f"loss.perceptual_weights is {path}, but there is no such file: save {VGG19_URL} there"
            )
        return path
    cached = cache_folder() / VGG19_URL.rpartition("/")[2]
    if not cached.is_file():
        source = Source(name="VGG19 (or name a copy as loss.perceptual_weights)", url=VGG19_URL, path=cached)

        def verify(file: Path) -> None:
            with file.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            if not found.startswith(VGG19_SHA256_BEGINS):
                raise DownloadError(
                    source.failure(f"what arrived has sha256 {found} instead of {VGG19_SHA256_BEGINS}…")
                )

        fetch(source, verify)
    return cached
