"""Films through PyAV: frames in, restored frames out, and all that is beside them copied. Without torch.

PyAV is the extra "film"; nothing here imports it before a film is opened.
"""

from swinir.film.encoding import FilmEncoder, FilmFormat, choose_format
from swinir.film.joining import check_container, join
from swinir.film.peek import PeekedFilm, peek_film
from swinir.film.reader import FilmFacts, FilmFrame, FilmReader
from swinir.film.segments import SEGMENT_FRAMES, FilmPacket, read_packets, read_times, write_packets

FILM_SUFFIXES = (".mkv", ".mp4", ".mov", ".webm", ".m4v")
# Of films that are read and not written.
OTHER_FILM_SUFFIXES = (".avi", ".flv", ".m2ts", ".mpeg", ".mpg", ".ogv", ".ts", ".wmv")

__all__ = [
    "FILM_SUFFIXES",
    "OTHER_FILM_SUFFIXES",
    "SEGMENT_FRAMES",
    "FilmEncoder",
    "FilmFacts",
    "FilmFormat",
    "FilmFrame",
    "FilmPacket",
    "FilmReader",
    "PeekedFilm",
    "check_container",
    "choose_format",
    "join",
    "peek_film",
    "read_packets",
    "read_times",
    "write_packets",
]
