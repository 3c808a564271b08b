"""Everything that can go wrong outside the program, as one tree.

SwinIRError
├── UsageError                what was asked for cannot be: also a ValueError
├── ImageError                an image file or its pixels
│   ├── ImageReadError            missing, damaged, or of a kind that cannot be read
│   ├── ImageTooLargeError        beyond the limits that guard against decompression bombs
│   └── ImageWriteError           cannot be written: format, disk, permission
├── WeightsError              parameters of a network
│   ├── CheckpointError           damaged, hostile, or of no SwinIR that is known
│   ├── UnknownModelError         a name that is neither in the catalog nor a file
│   ├── DownloadError             a published file that did not arrive whole
│   └── UploadError               a model that the hub did not take
├── ExportError               a file for other programs that cannot be written, or restores something else
├── RestoreError              an image that this network or machine cannot restore as asked
├── DataError                 a data set for training or evaluation
├── RecipeError               a training recipe
├── MissingPackageError       something optional that is not installed
├── ClusterError              a cluster that is not there, or whose workers do not start
└── TrainingError             a run that cannot go on

A wrong argument of ours is a UsageError, or a TypeError where its type is wrong. Any other ValueError is a fault of
the program and is shown with its traceback.
"""


class SwinIRError(Exception):
    """An error that a user can act on: its message says the value, the limit and what to do."""


class UsageError(SwinIRError, ValueError):
    """An argument, an option or a combination of them that is unknown or impossible."""


class ImageError(SwinIRError):
    """An image file or its pixels."""


class ImageReadError(ImageError):
    """The file is missing, damaged, or of a kind that cannot be read."""


class ImageTooLargeError(ImageError):
    """The image is beyond the limits that guard against decompression bombs.

    Args:
        message: for people.
        limit: the field of ``imaging.Limits`` that it passes.
    """

    def __init__(self, message: str, *, limit: str = "max_pixels") -> None:
        super().__init__(message)
        self.limit = limit


class ImageWriteError(ImageError):
    """The image cannot be written: unknown format, full disk, missing permission."""


class WeightsError(SwinIRError):
    """Parameters of a network."""


class CheckpointError(WeightsError):
    """The file is damaged, hostile, or holds no SwinIR that is known."""


class UnknownModelError(WeightsError):
    """The name is neither in the catalog nor an existing file."""


class DownloadError(WeightsError):
    """A published file did not arrive whole."""


class UploadError(WeightsError):
    """The hub did not take a model."""


class ExportError(SwinIRError):
    """A file for other programs cannot be written, or what was written restores something else."""


class RestoreError(SwinIRError):
    """Too little memory, or an overflow in the network's precision: the image cannot be restored as asked."""


class DataError(SwinIRError):
    """A data set for training or evaluation is missing, empty or unfit."""


class RecipeError(SwinIRError):
    """A training recipe has an unknown key or an impossible value."""


class MissingPackageError(SwinIRError):
    """A command needs a package or a program that comes apart from this one and is not installed."""


class ClusterError(SwinIRError):
    """A cluster is not there, or its workers do not start."""


class TrainingError(SwinIRError):
    """A training run cannot go on."""
