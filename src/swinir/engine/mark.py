"""What a result says of itself in its XMP: that it is one, of which input, and by which settings.

So results are known whatever they are called, and a run that was stopped knows what is done: a result appears whole,
and its record with it.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from xml.sax.saxutils import quoteattr, unescape

if TYPE_CHECKING:
    from torch import Tensor

# Where every format that is written has its XMP: in so many bytes at the beginning or at the end.
_SEARCHED_BYTES = 2**18
_HASHED_BYTES = 2**20
_NAMESPACE = "urn:swinir:result:1"
_DESCRIPTION = re.compile(
    rb"<rdf:Description\b[^>]*?swinir:Settings=\"([^\"]*)\"\s+swinir:Source=\"([0-9a-f]*)\"\s*/>"
)
_BEGINNING = re.compile(rb"<rdf:RDF\b[^>]*[^/]>")
_EMPTY_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)
_QUOTE = {"&quot;": '"'}


@dataclass(frozen=True)
class Mark:
    """The record of a result.

    Attributes:
        settings: what it was made by, for people and for comparison.
        source: hash of the file that it was made of.
    """

    settings: str
    source: str


def hash_file(path: Path) -> str:
    """Return a hash of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hash_stream(file)


def hash_stream(file: BinaryIO) -> str:
    """Return the same hash of what a file object has ahead."""
    digest = hashlib.blake2b(digest_size=16)
    while chunk := file.read(_HASHED_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def hash_parameters(parameters: Mapping[str, "Tensor"]) -> str:
    """Return a hash of a network's parameters, the same on every device."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(parameters):
        digest.update(name.encode())
        digest.update(parameters[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def add_mark(xmp: bytes | None, mark: Mark) -> bytes:
    """Return an XMP packet with a mark, in place of one that it has; a packet of an unusual form stays as it is."""
    packet = _DESCRIPTION.sub(b"", xmp or _EMPTY_PACKET)
    # In double quotes, whatever is inside.
    settings = quoteattr(mark.settings, {'"': "&quot;"})
    description = (
        f'<rdf:Description rdf:about="" xmlns:swinir="{_NAMESPACE}" swinir:Settings={settings} '
        f'swinir:Source="{mark.source}"/>'
    )
    beginning = _BEGINNING.search(packet)
    if beginning is None:
        return packet
    return packet[: beginning.end()] + description.encode() + packet[beginning.end() :]


def find_mark(data: bytes) -> Mark | None:
    """Find a mark in bytes of a file."""
    found = _DESCRIPTION.search(data)
    if found is None:
        return None
    return Mark(unescape(found[1].decode("utf-8", "replace"), _QUOTE), found[2].decode())


def read_mark(path: Path) -> Mark | None:
    """Find the mark of a file; None where it has none or cannot be read."""
    try:
        with path.open("rb") as file:
            return read_mark_of_stream(file)
    except OSError:
        return None


def read_mark_of_stream(file: BinaryIO) -> Mark | None:
    """Find the mark of a file object, which is at its beginning; None where it has none."""
    start = file.read(_SEARCHED_BYTES)
    mark = find_mark(start)
    if mark is None and len(start) == _SEARCHED_BYTES:
        file.seek(max(_SEARCHED_BYTES, file.seek(0, os.SEEK_END) - _SEARCHED_BYTES))
        mark = find_mark(file.read())
    return mark
