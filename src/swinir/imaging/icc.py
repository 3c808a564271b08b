"""Colour profiles written from a few numbers: primaries, white and a curve, as ICC.1:2022 lays them out."""

import struct

import numpy as np
from numpy.typing import NDArray

from swinir.imaging.cicp import Cicp, Point, rgb_to_xyz

# ICC.1:2022, section 7.2.16: the white of the profile connection space, D50.
_D50 = np.array([0.9642, 1.0, 0.8249])
# Lam's transform to cone responses, which ICC recommends for chromatic adaptation (annex E).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_VERSION = 0x04300000
# Parameters of sRGB's curve in the form of ICC's parametric curve 3: gamma, a, b, c, d.
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile_of_gamma(
    gamma: float, chromaticities: tuple[Point, Point, Point, Point] | None, *, is_gray: bool
) -> bytes:
    """Profile whose values to the power of ``gamma`` are light.

    Args:
        gamma: 2.2 for most screens, 1 for linear light.
        chromaticities: x, y of red, green, blue and white; None for those of sRGB.
        is_gray: for pictures of one channel.
    """
    curve = _tag("para", struct.pack(">HHi", 0, 0, _fixed(gamma)))
    name = f"Gamma {gamma:.3g}"
    if is_gray:
        return _gray_profile(curve, name)
    stated = chromaticities or Cicp(1, 13).chromaticities
    assert stated is not None
    return _rgb_profile(curve, stated, name)


def profile_of_cicp(cicp: Cicp, *, is_gray: bool = False) -> bytes | None:
    """Profile of colour that is described by code points; None where its curve cannot be put so, as PQ and HLG."""
    chromaticities = cicp.chromaticities
    if chromaticities is None or cicp.is_hdr:
        return None
    if cicp.gamma is not None:
        return profile_of_gamma(cicp.gamma, chromaticities, is_gray=is_gray)
    curve = _tag("para", struct.pack(">HH5i", 3, 0, *map(_fixed, _SRGB_CURVE)))
    return _gray_profile(curve, cicp.name) if is_gray else _rgb_profile(curve, chromaticities, cicp.name)


def profile_of_primaries(chromaticities: tuple[Point, Point, Point, Point]) -> bytes:
    """Profile of these primaries with sRGB's curve."""
    curve = _tag("para", struct.pack(">HH5i", 3, 0, *map(_fixed, _SRGB_CURVE)))
    return _rgb_profile(curve, chromaticities, "Stated primaries")


def _rgb_profile(curve: bytes, chromaticities: tuple[Point, Point, Point, Point], name: str) -> bytes:
    to_xyz = rgb_to_xyz(chromaticities)
    adaptation = _adaptation(to_xyz @ np.ones(3))
    adapted = adaptation @ to_xyz
    tags = [("rXYZ", _xyz(adapted[:, 0])), ("gXYZ", _xyz(adapted[:, 1])), ("bXYZ", _xyz(adapted[:, 2]))]
    tags += [("rTRC", curve), ("gTRC", curve), ("bTRC", curve)]
    tags.append(("chad", _tag("sf32", struct.pack(">9i", *map(_fixed, adaptation.ravel())))))
    return _profile("RGB ", name, tags)


def _gray_profile(curve: bytes, name: str) -> bytes:
    return _profile("GRAY", name, [("kTRC", curve)])


def _adaptation(white: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix that takes colours seen under ``white`` to those seen under D50."""
    ratio = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ (ratio[:, None] * _BRADFORD)


def _profile(space: str, name: str, tags: list[tuple[str, bytes]]) -> bytes:
    """Header, table and values; equal values stand once (section 7.3)."""
    tags = [("desc", _words(name)), ("cprt", _words("CC0")), ("wtpt", _xyz(_D50)), *tags]
    places: dict[bytes, int] = {}
    values = b""
    start = 128 + 4 + 12 * len(tags)
    for _, value in tags:
        if value not in places:
            places[value] = start + len(values)
            values += value + b"\0" * (-len(value) % 4)
    table = struct.pack(">I", len(tags))
    for kind, value in tags:
        table += struct.pack(">4sII", kind.encode(), places[value], len(value))
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sII4sQI3i4s44x",
        start + len(values),
        b"",
        _VERSION,
        b"mntr",
        space.encode(),
        b"XYZ ",
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0),
        b"acsp",
        b"",
        0,
        0,
        b"",
        0,
        0,
        *map(_fixed, _D50),
        b"",
    )
    return header + table + values


def _tag(kind: str, data: bytes) -> bytes:
    return kind.encode() + b"\0\0\0\0" + data


def _words(text: str) -> bytes:
    """Type mluc with one record, in English (section 10.15)."""
    data = text.encode("utf-16-be")
    return _tag("mluc", struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data)


def _xyz(values: NDArray[np.float64]) -> bytes:
    return _tag("XYZ ", struct.pack(">3i", *map(_fixed, values)))


def _fixed(value: float) -> int:
    """Write a number with 16 bits after the point."""
    return round(float(value) * 65_536)
