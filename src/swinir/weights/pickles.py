"""Files of ``torch.save``, read without running anything in them, and damaged ones told from hostile ones."""

import io
import os
import pickle
import pickletools
import re
import struct
import threading
import warnings
import zipfile
from contextlib import AbstractContextManager, nullcontext
from typing import IO, BinaryIO

import torch

from swinir.weights.problems import DamagedError, RefusedError, quoted

# All that unpickling and unzipping raise on damaged input, found by damaging files at every place.
DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    EOFError,
    OSError,
)
# What a pickle of tensors names: how they are put together, and the types of what they hold.
_TENSORS_NEED = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter|parameter_with_state)"
    r"|torch(\.cuda|\.storage)? \w+Storage"
    r"|torch (Size|bool|[a-z]+[0-9]+(_[a-z0-9]+)?)"
)
# What training programs store beside weights: figures of NumPy, options, paths and times. None of it is built.
_LEFT_OUT = re.compile(
    r"numpy(\.core|\._core)?\.multiarray (scalar|_reconstruct)"
    r"|numpy (ndarray|dtype)"
    r"|numpy\.dtypes \w+"
    r"|_codecs encode"
    r"|argparse Namespace"
    r"|pathlib \w*Path"
    r"|datetime \w+"
    r"|(pytorch_lightning|lightning|lightning_fabric)(\.\w+)+ AttributeDict"
)
# A file from before PyTorch 1.6: magic number, protocol, system, content, names of the storages that follow.
_LEGACY_PICKLES = 5
_CHUNK_BYTES = 1 << 20
# warnings.catch_warnings and torch's list of safe names belong to the whole process: one thread at a time.
_ONE_AT_A_TIME = threading.Lock()


class LeftOut:
    """Stands where a file has an object that is not built: it takes whatever it is given, and keeps nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class LeftOutMapping:
    """Stands where a file has a dictionary of another class: torch.load fills nothing but plain ones."""

    def __new__(cls, *_: object) -> dict[object, object]:
        """Return a plain dictionary."""
        return {}


def read_pickle(file: BinaryIO) -> object:
    """Read what a file of ``torch.save`` holds: tensors and plain values in containers, ``LeftOut`` for the rest.

    Nothing in the file is executed. ``weights_only`` alone runs no code, but builds what can fill the memory (a
    bytearray of any length) or the day (a set of a tensor that repeats one value), so the file is looked at first.

    Raises:
        DamagedError: the file is incomplete or altered, or was never written by ``torch.save``.
        RefusedError: it asks for more than tensors and what may stand beside them, is a program, or is packed (bombs
            are; weights are not).
    """
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = _check_archive(file) if file.read(2) == b"PK" else _check_legacy(file)
            file.seek(0)
            with _left_out(names):
                return torch.load(file, map_location="cpu", weights_only=True)
    except (DamagedError, RefusedError):
        raise
    except DAMAGE as error:
        raise DamagedError("it is damaged, incomplete or no file of torch.save") from error


def _left_out(names: set[str]) -> AbstractContextManager[object]:
    """Have torch.load build nothing for these names."""
    if not names:
        return nullcontext()
    return torch.serialization.safe_globals(
        [(LeftOutMapping if name.endswith("Dict") else LeftOut, name) for name in sorted(names)]
    )


def _check_archive(file: BinaryIO) -> set[str]:
    """Look into a zip archive: its kind, its checksums, what its pickles ask for; return the names to leave out."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise RefusedError("it is a compressed archive, which torch.save does not write")
            if entry.filename.endswith("/constants.pkl"):
                raise RefusedError("it is a TorchScript program, and programs are not run")
        if sum(entry.file_size for entry in entries) > file.seek(0, os.SEEK_END):
            raise DamagedError("it is damaged: its entries lie over each other")
        if all(entry.CRC == 0 for entry in entries):
            # torch.save can be told to compute no checksums; where an entry has none, zipfile compares none.
            for entry in entries:
                del entry.CRC
        for entry in entries:
            _check_sum(archive, entry)
        names: set[str] = set()
        for entry in entries:
            if entry.filename.endswith("/data.pkl"):
                names |= _check_pickle(io.BytesIO(archive.read(entry)))
    return names


def _check_sum(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    try:
        with archive.open(entry) as content:
            while content.read(_CHUNK_BYTES):
                pass
    except zipfile.BadZipFile as error:
        raise DamagedError(f"it is damaged: the checksum of {quoted(entry.filename)} does not fit") from error


def _check_legacy(file: BinaryIO) -> set[str]:
    file.seek(0)
    return set[str]().union(*(_check_pickle(file) for _ in range(_LEGACY_PICKLES)))


def _check_pickle(content: IO[bytes]) -> set[str]:
    """Look at what a pickle asks for, without unpickling it; return the names to leave out.

    Raises:
        RefusedError: it asks for something else.
    """
    names: set[str] = set()
    for opcode, argument, _ in pickletools.genops(content):
        # The other opcodes that find things by name are unknown to torch.load.
        if opcode.name != "GLOBAL" or _TENSORS_NEED.fullmatch(str(argument)):
            continue
        name = str(argument).replace(" ", ".")
        if not _LEFT_OUT.fullmatch(str(argument)):
            raise RefusedError(
                f"it asks for {quoted(name)}, which was refused: weights need only plain tensors"
            )
        names.add(name)
    return names
