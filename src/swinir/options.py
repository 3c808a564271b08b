"""What can be chosen about restoring: one record for the command line, Python, jobs and services. No torch here."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Self, TypedDict, TypeVar, Unpack

from swinir.errors import UsageError

if TYPE_CHECKING:
    import torch

Choice = TypeVar("Choice", bound=StrEnum)
Tile = Literal["auto"] | int | None
# Python, PyTorch and a model take most of it before the first pixel.
LEAST_MEMORY_BYTES = 2**29


class Precision(StrEnum):
    """Type that matrix products are computed in; sums between layers are float32 in all of them."""

    AUTO = "auto"  # bf16 where the hardware multiplies it, else fp32
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"

    @property
    def dtype(self) -> "torch.dtype":
        """The same as PyTorch names it; "auto" has none before a device is known."""
        import torch  # noqa: PLC0415

        types = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
        return types[self]


class BackendChoice(StrEnum):
    """What computes: the transformer layers, or with another runtime the whole network."""

    AUTO = "auto"  # the fastest that is right on the device
    REFERENCE = "reference"  # plain PyTorch
    NATIVE = "native"  # the C++ kernels, on a CPU
    TRITON = "triton"  # fused kernels, on a GPU
    ONNXRUNTIME = "onnxruntime"  # on a CPU, or what else it knows: cuda, dml, coreml
    OPENVINO = "openvino"  # on a CPU, an Intel GPU or an NPU


class FramesChoice(StrEnum):
    """Which frames of an animation, or pages, are restored."""

    AUTO = "auto"  # all where the output can hold them, else the first
    FIRST = "first"
    ALL = "all"  # an error where the output cannot hold them


class TiffLayout(StrEnum):
    """How a TIFF file keeps its pixels."""

    STRIPS = "strips"  # rows: what every program opens
    TILES = "tiles"  # what viewers of large pictures read parts of
    PYRAMID = "pyramid"  # tiles at all sizes


class VideoCodec(StrEnum):
    """What encodes the frames of a film, as FFmpeg calls it."""

    AUTO = "auto"  # libx264 for 8 bits, libx265 for more, libsvtav1 in WebM
    LIBX264 = "libx264"  # H.264
    LIBX265 = "libx265"  # HEVC
    LIBSVTAV1 = "libsvtav1"  # AV1
    LIBVPX_VP9 = "libvpx-vp9"  # VP9
    FFV1 = "ffv1"  # without loss
    PRORES = "prores_ks"  # ProRes, for editing


@dataclass(frozen=True, kw_only=True)
class FilmOptions:
    """How a film is read and written.

    Attributes:
        codec: what encodes the frames.
        crf: constant quality of the encoder, lower is better; None for one that looks like the original.
        preset: of the encoder, such as "fast", "slow", or "6" for libsvtav1; None for its own default.
        deinterlace: make whole frames of interlaced ones.

    Raises:
        UsageError: the codec is unknown, or has no such choice.
    """

    codec: VideoCodec = VideoCodec.AUTO
    crf: float | None = None
    preset: str | None = None
    deinterlace: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "codec", parse_choice(VideoCodec, self.codec, "codec"))


class RestorerChoices(TypedDict, total=False):
    """Fields of ``RestorerOptions``, as keywords; enums also by their values."""

    device: "str | torch.device"
    precision: Precision | str
    tile: Tile
    ensemble: bool
    backend: BackendChoice | str
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class RestorerOptions:
    """How a ``Restorer`` computes. Names of enums are taken for their members.

    Attributes:
        device: "auto" (a CUDA GPU, else the CPU) or anything ``torch.device`` takes; for another runtime, a name of
            its own.
        precision: of matrix products.
        tile: "auto" (whole where it fits the memory, else the largest tiles that do), None (whole), or
            the side of a tile in pixels of the input, rounded down to whole windows.
        ensemble: average over the eight flips and rotations, at eight times the work.
        backend: what computes the transformer layers, or another runtime for the whole network.
        memory_bytes: what the process is to stay below while a picture is restored; on a GPU, what tiles may take of
            its memory. None is 1.5 GB on a CPU, and what is free on a GPU. What is free is the limit in any case,
            and a tile that is not "auto" is taken as it is.

    Raises:
        UsageError: a choice is unknown; whether it is possible, a ``Restorer`` decides.
    """

    device: str = "auto"
    precision: Precision = Precision.AUTO
    tile: Tile = "auto"
    ensemble: bool = False
    backend: BackendChoice = BackendChoice.AUTO
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))
        object.__setattr__(self, "precision", parse_choice(Precision, self.precision, "precision"))
        object.__setattr__(self, "backend", parse_choice(BackendChoice, self.backend, "backend"))
        is_side = isinstance(self.tile, int) and not isinstance(self.tile, bool)
        if not is_side and self.tile is not None and self.tile != "auto":
            raise UsageError(f"tile is {self.tile!r}: choose auto, None (whole), or a side in pixels")
        if self.memory_bytes is not None and self.memory_bytes < LEAST_MEMORY_BYTES:
            raise UsageError(
                f"{self.memory_bytes:,} bytes of memory are too little: PyTorch and a model take "
                f"{LEAST_MEMORY_BYTES // 2**20} MiB"
            )

    def changed(self, **changes: Unpack[RestorerChoices]) -> Self:
        """Return the same with other choices."""
        return replace(self, **changes)  # pyright: ignore[reportArgumentType]


def parse_choice(kind: type[Choice], value: str, name: str) -> Choice:
    """Read a member of an enum by its value.

    Raises:
        UsageError: there is none; the message names all.
    """
    if value not in list(kind):
        raise UsageError(f"{name} {value!r} is unknown: choose {', '.join(kind)}")
    return kind(value)
