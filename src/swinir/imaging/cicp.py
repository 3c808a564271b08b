"""Colour described by code points: which primaries, which transfer curve (ITU-T H.273), as PNG and AVIF state it."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]

# ITU-T H.273, table 2: chromaticities x, y of red, green, blue and white.
_D65 = (0.3127, 0.3290)
_C = (0.310, 0.316)
_PRIMARIES: dict[int, tuple[Point, Point, Point, Point]] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
_NAMES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_UNSTATED = 2
_SRGB_PRIMARIES = _PRIMARIES[1]
_SRGB_TRANSFER, _LINEAR_TRANSFER, _PQ, _HLG = 13, 8, 16, 18
# Those of BT.601, BT.709 and BT.2020 are one curve, which screens show as they show sRGB's.
_VIDEO_TRANSFERS = (1, 6, 14, 15)
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
# ITU-R BT.2408: what diffuse white is in PQ, in candela per square metre.
_REFERENCE_WHITE = 203.0
_PQ_PEAK = 10_000.0
# ITU-R BT.2100: nominal peak of HLG, for which its system gamma is 1.2, and its reference white as a signal.
_HLG_SYSTEM_GAMMA, _HLG_WHITE_SIGNAL = 1.2, 0.75
# Rows that are converted together: float64 of a whole picture would be eight times its memory.
_ROWS_AT_ONCE = 64


class Cicp(NamedTuple):
    """Code points of ITU-T H.273. The matrix is not kept: pixels are RGB here.

    Attributes:
        primaries: 1 BT.709, 9 BT.2020, 12 Display P3; 2 is unstated.
        transfer: 13 sRGB, 16 PQ, 18 HLG; 2 is unstated.
        is_full_range: black is 0 and white the largest value.
    """

    primaries: int
    transfer: int
    is_full_range: bool = True

    @property
    def is_srgb(self) -> bool:
        """Whether a picture without any description looks the same."""
        return self.primaries in (1, _UNSTATED) and self.transfer in (
            *_VIDEO_TRANSFERS,
            _SRGB_TRANSFER,
            _UNSTATED,
        )

    @property
    def is_hdr(self) -> bool:
        """Whether the values reach beyond the white of ordinary screens."""
        return self.transfer in (_PQ, _HLG)

    @property
    def name(self) -> str:
        """For people: "BT.2020 PQ"."""
        primaries = _NAMES.get(self.primaries, f"primaries {self.primaries}")
        curves = {_PQ: " PQ", _HLG: " HLG", _LINEAR_TRANSFER: " linear", _SRGB_TRANSFER: ""}
        return primaries + curves.get(self.transfer, f" with transfer {self.transfer}")

    @property
    def chromaticities(self) -> tuple[Point, Point, Point, Point] | None:
        """Red, green, blue and white, or None if this table does not have them."""
        return _PRIMARIES.get(1 if self.primaries == _UNSTATED else self.primaries)

    @property
    def gamma(self) -> float | None:
        """Exponent that turns values into light; None where the curve is no power."""
        return _GAMMAS.get(self.transfer)


def rgb_to_xyz(chromaticities: tuple[Point, Point, Point, Point]) -> NDArray[np.float64]:
    """Matrix from linear RGB to CIE XYZ with a luminance of 1 for white (SMPTE RP 177)."""
    red, green, blue, white = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in chromaticities)
    columns = np.stack([red, green, blue], axis=1)
    return columns * np.linalg.solve(columns, white)


def to_srgb(pixels: NDArray[Any], cicp: Cicp, white: float) -> NDArray[Any]:
    """Show a picture beyond ordinary white, or of other primaries, in sRGB.

    Diffuse white becomes 69 % of the screen's light; what is brighter is bent into the rest (Reinhard's curve with a
    white point, on the largest of the three channels, so that hues stay). Colours outside sRGB are clipped.

    Args:
        pixels: [H, W, 3] of any type, coded as ``cicp`` says.
        cicp: PQ, HLG or any transfer that is a power or sRGB's.
        white: the largest value of the type.

    Returns:
        The same shape and type.
    """
    shown = np.empty_like(pixels)
    matrix = np.linalg.solve(rgb_to_xyz(_SRGB_PRIMARIES), rgb_to_xyz(cicp.chromaticities or _SRGB_PRIMARIES))
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        light = _light(pixels[rows] / white, cicp) @ matrix.T
        coded = _srgb_signal(_bent(light) if cicp.is_hdr else light.clip(0, 1))
        shown[rows] = coded if white == 1 else np.floor(coded * white + 0.5)
    return shown


def _light(signal: NDArray[np.float64], cicp: Cicp) -> NDArray[np.float64]:
    """Linear light, 1 for diffuse white."""
    signal = signal.clip(0, 1)
    if cicp.transfer == _PQ:
        return _pq_light(signal) * (_PQ_PEAK / _REFERENCE_WHITE)
    if cicp.transfer == _HLG:
        return _hlg_light(signal) / _hlg_light(np.full((1, 1, 3), _HLG_WHITE_SIGNAL))
    if cicp.gamma is not None:
        return signal**cicp.gamma
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def _pq_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, equation 4: 1 is 10,000 candela per square metre."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** (1 / m2)
    return (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """ITU-R BT.2100, table 5: inverse OETF and the system's gamma on luminance; 1 is the peak."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return scene * luminance[..., None] ** (_HLG_SYSTEM_GAMMA - 1)


def _bent(light: NDArray[np.float64], peak: float = 1000 / _REFERENCE_WHITE) -> NDArray[np.float64]:
    """Bring light up to ``peak`` times diffuse white below 1."""
    light = np.maximum(light, 0)
    brightest = light.max(axis=-1, keepdims=True)
    scaled = brightest * 0.8
    bent = np.where(
        scaled <= 0.5,
        scaled,
        # From half of white on, a curve of the same slope that reaches 1 at the peak.
        0.5 + _shoulder((scaled - 0.5) / 0.5, (peak * 0.8 - 0.5) / 0.5) * 0.5,
    )
    return light * np.divide(bent, brightest, out=np.zeros_like(bent), where=brightest > 0)


def _shoulder(value: NDArray[np.float64], peak: float) -> NDArray[np.float64]:
    """Reinhard et al. (2002), equation 4: slope 1 at 0, 1 at the peak."""
    value = np.maximum(value, 0)
    return np.minimum(value * (1 + value / peak**2) / (1 + value), 1)


def _srgb_signal(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEC 61966-2-1: linear light to sRGB."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
