"""Words that a file keeps beside its picture: text chunks of PNG, comments of JPEG and GIF."""

import zlib
from dataclasses import dataclass

_COMMENT = "Comment"


@dataclass(frozen=True)
class Text:
    """One text and the word that says what it is, such as "Title", "parameters" or "Comment".

    Attributes:
        keyword: 1 to 79 characters of Latin-1 where it comes from a PNG file.
        text: of any length.
        chunk: kind and body of the PNG chunk that it was read from, so that it can be written back verbatim.
    """

    keyword: str
    text: str
    chunk: tuple[bytes, bytes] | None = None


def text_of_chunk(kind: bytes, body: bytes, max_bytes: int) -> Text | None:
    """Read a tEXt, zTXt or iTXt chunk (PNG 3rd edition, section 11.3.3); None if it is damaged.

    Args:
        kind: of the chunk.
        body: of the chunk.
        max_bytes: that a compressed text may unfold to; one byte more is read, and the rest is not.
    """
    keyword, separator, rest = body.partition(b"\0")
    if not separator or not 1 <= len(keyword) <= 79:
        return None
    try:
        if kind == b"tEXt":
            text = rest.decode("latin-1")
        elif kind == b"zTXt":
            text = inflated(rest[1:], max_bytes).decode("latin-1")
        else:
            is_compressed = rest[0] == 1
            words = rest[2:].split(b"\0", 2)[2]
            text = (inflated(words, max_bytes) if is_compressed else words).decode("utf-8")
    except (IndexError, ValueError, zlib.error):
        return None
    return Text(keyword.decode("latin-1"), text, (kind, body))


def text_of_comment(comment: bytes) -> Text:
    """Read a comment whose encoding no standard names: UTF-8 where it is that, else Latin-1."""
    comment = comment.rstrip(b"\0")
    try:
        text = comment.decode("utf-8")
    except UnicodeDecodeError:
        text = comment.decode("latin-1")
    return Text(_COMMENT, text)


def chunk_of_text(text: Text) -> tuple[bytes, bytes]:
    """Kind and body of the PNG chunk that holds a text: as it was read, or tEXt where Latin-1 is enough."""
    if text.chunk is not None:
        return text.chunk
    keyword = text.keyword.encode("latin-1", "replace")[:79] or b"Comment"
    words = text.text.replace("\0", "")
    try:
        return b"tEXt", keyword + b"\0" + words.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", keyword + b"\0\0\0\0\0" + words.encode("utf-8", "replace")


def comment_of_text(text: Text) -> bytes:
    """Write a text for a format that has comments without keywords."""
    words = text.text if text.keyword == _COMMENT else f"{text.keyword}: {text.text}"
    return words.encode("utf-8", "replace")


def inflated(data: bytes, max_bytes: int) -> bytes:
    """Unfold compressed bytes, up to one more than ``max_bytes``.

    Raises:
        zlib.error: they are damaged.
    """
    return zlib.decompressobj().decompress(data, max_bytes + 1)
