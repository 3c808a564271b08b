"""Likeness as a network for recognition sees it: distances between the features of VGG19."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from swinir.errors import UsageError, WeightsError
from swinir.weights.download import Source, cache_folder, fetch
from swinir.weights.pickles import DAMAGE
from swinir.weights.records import hash_file
from swinir.weights.tensors import copied, require_plain

# Channels of VGG19's convolutions (Simonyan and Zisserman 2015, table 1, column E), 0 for a pooling, up to conv5_4.
LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512)
# Where features are compared, before their ReLU, by their index among torchvision's layers, and what each weighs:
# conv1_2, conv2_2, conv3_4, conv4_4, conv5_4, as the published GAN stage has them.
FEATURE_WEIGHTS: Mapping[int, float] = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
# Four poolings come before the last features, which below this side have no pixel.
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
        # On no device until they are given: nothing is drawn at random, which a run would not repeat.
        with torch.device("meta"):
            self.features = vgg19_layers()
        self.load_state_dict(dict(weights), assign=True)
        self.requires_grad_(False)
        self.eval()
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, restored: Float[Tensor, "b 3 h w"], hq: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """Compare RGB images in [0, 1]; gradients flow to ``restored`` alone.

        Raises:
            UsageError: a side is too short for VGG19's four halvings.
        """
        if min(restored.shape[-2:]) < LEAST_PX:
            raise UsageError(f"images are {tuple(restored.shape)}, but VGG19 needs {LEAST_PX} pixels a side")
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
    """Read VGG19's parameters under torchvision's names, float32, safely; what is not compared is left out.

    A ``.safetensors`` file is read as such, any other as torchvision's: nothing in it is executed.

    Raises:
        WeightsError: the file is missing, damaged, or holds another network.
    """
    with torch.device("meta"):
        wanted = vgg19_layers().state_dict(prefix="features.")
    try:
        stored = _stored(path)
        return copied({name: _chosen(stored, name, like) for name, like in wanted.items()}, torch.float32)
    except ValueError as error:
        raise WeightsError(
            f"{path} holds no usable weights of VGG19: {error}; save {VGG19_URL} there"
        ) from error


def _stored(path: Path) -> dict[object, object]:
    """Read whatever a file holds under names.

    Raises:
        UsageError: it is missing, damaged, or has no names.
    """
    try:
        if path.suffix == ".safetensors":
            return {**load_file(path)}
        # Not read_pickle: torchvision's file is of early 2017, when a tensor was pickled as its class,
        # torch.FloatTensor, and its state (github.com/pytorch/pytorch/issues/6184), which that one refuses.
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(error.strerror or str(error)) from error
    except (SafetensorError, *DAMAGE) as error:
        raise UsageError("it is damaged, incomplete or of another kind") from error
    if not isinstance(content, dict):
        raise UsageError(f"it holds no dictionary of tensors but a {type(content).__name__}")
    return dict(content)


def _chosen(stored: Mapping[object, object], name: str, like: Tensor) -> Tensor:
    if name not in stored:
        raise UsageError(f"it has no {name}")
    tensor = require_plain(name, stored[name])
    if tensor.shape != like.shape:
        raise UsageError(f"{name} is {tuple(tensor.shape)}, but VGG19's is {tuple(like.shape)}")
    return tensor


def vgg19_file(path: Path | None = None) -> Path:
    """Return a file of VGG19's weights: the given one, or the one that is downloaded once, 548 MiB.

    Raises:
        WeightsError: the given file does not exist.
        DownloadError: there is no whole one yet, and it does not come.
    """
    if path is not None:
        if not path.is_file():
            raise WeightsError(
                f"loss.perceptual_weights is {path}, but there is no such file: save {VGG19_URL} there"
            )
        return path
    cached = cache_folder() / VGG19_URL.rpartition("/")[2]
    source = Source(name="VGG19 (or name a copy as loss.perceptual_weights)", url=VGG19_URL, path=cached)

    def check(file: Path) -> str:
        found = hash_file(file)
        is_whole = found.startswith(VGG19_SHA256_BEGINS)
        return "" if is_whole else f"what arrived has sha256 {found} instead of {VGG19_SHA256_BEGINS}…"

    fetch(source, check)
    return cached
