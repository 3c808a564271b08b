"""The models released by the authors of the paper (Liang et al. 2021), as data.

Files and licence: the release of the authors' repository. Figures: the paper's tables 2 to 6 and the authors'
README. Hashes: OpenModelDB and other public manifests, since the authors publish none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from swinir.weights.records import Figures, Model, Origin, Task

RELEASE_URL = "https://github.com/JingyunLiang/SwinIR/releases/download/v0.0"
LICENCE = "Apache-2.0"

_SR_SETS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109")
_GRAY_DENOISE_SETS = ("Set12", "BSD68", "Urban100")
_COLOR_DENOISE_SETS = ("CBSD68", "Kodak24", "McMaster", "Urban100")

# (training set, scale): PSNR and SSIM on the five sets; ×8 was released without figures.
_CLASSICAL: Mapping[tuple[str, int], tuple[Figures, ...]] = {
    ("DIV2K", 2): (
        Figures(38.35, 0.9620),
        Figures(34.14, 0.9227),
        Figures(32.44, 0.9030),
        Figures(33.40, 0.9393),
        Figures(39.60, 0.9792),
    ),
    ("DIV2K", 3): (
        Figures(34.89, 0.9312),
        Figures(30.77, 0.8503),
        Figures(29.37, 0.8124),
        Figures(29.29, 0.8744),
        Figures(34.74, 0.9518),
    ),
    ("DIV2K", 4): (
        Figures(32.72, 0.9021),
        Figures(28.94, 0.7914),
        Figures(27.83, 0.7459),
        Figures(27.07, 0.8164),
        Figures(31.67, 0.9226),
    ),
    ("DIV2K", 8): (),
    ("DF2K", 2): (
        Figures(38.42, 0.9623),
        Figures(34.46, 0.9250),
        Figures(32.53, 0.9041),
        Figures(33.81, 0.9427),
        Figures(39.92, 0.9797),
    ),
    ("DF2K", 3): (
        Figures(34.97, 0.9318),
        Figures(30.93, 0.8534),
        Figures(29.46, 0.8145),
        Figures(29.75, 0.8826),
        Figures(35.12, 0.9537),
    ),
    ("DF2K", 4): (
        Figures(32.92, 0.9044),
        Figures(29.09, 0.7950),
        Figures(27.92, 0.7489),
        Figures(27.45, 0.8254),
        Figures(32.03, 0.9260),
    ),
    ("DF2K", 8): (),
}
_LIGHTWEIGHT: Mapping[int, tuple[Figures, ...]] = {
    2: (
        Figures(38.14, 0.9611),
        Figures(33.86, 0.9206),
        Figures(32.31, 0.9012),
        Figures(32.76, 0.9340),
        Figures(39.12, 0.9783),
    ),
    3: (
        Figures(34.62, 0.9289),
        Figures(30.54, 0.8463),
        Figures(29.20, 0.8082),
        Figures(28.66, 0.8624),
        Figures(33.98, 0.9478),
    ),
    4: (
        Figures(32.44, 0.8976),
        Figures(28.77, 0.7858),
        Figures(27.69, 0.7406),
        Figures(26.47, 0.7980),
        Figures(30.92, 0.9151),
    ),
}
# Noise level of 255: PSNR.
_GRAY_DENOISE: Mapping[int, tuple[float, ...]] = {
    15: (33.36, 31.97, 33.70),
    25: (31.01, 29.50, 31.30),
    50: (27.91, 26.58, 27.98),
}
_COLOR_DENOISE: Mapping[int, tuple[float, ...]] = {
    15: (34.42, 35.34, 35.61, 35.13),
    25: (31.78, 32.89, 33.20, 32.90),
    50: (28.56, 29.79, 30.22, 29.82),
}
# JPEG quality: PSNR, SSIM and PSNR-B.
_GRAY_JPEG: Mapping[int, Mapping[str, Figures]] = {
    10: {"Classic5": Figures(30.27, 0.8249, 29.95), "LIVE1": Figures(29.86, 0.8287, 29.50)},
    20: {"Classic5": Figures(32.52, 0.8748, 31.99), "LIVE1": Figures(32.25, 0.8909, 31.70)},
    30: {"Classic5": Figures(33.73, 0.8961, 33.03), "LIVE1": Figures(33.69, 0.9174, 33.01)},
    40: {"Classic5": Figures(34.52, 0.9082, 33.66), "LIVE1": Figures(34.67, 0.9317, 33.88)},
}
_COLOR_JPEG: Mapping[int, Mapping[str, Figures]] = {
    10: {"LIVE1": Figures(28.06, 0.8089, 27.76)},
    20: {"LIVE1": Figures(30.45, 0.8741, 29.97)},
    30: {"LIVE1": Figures(31.82, 0.9018, 31.24)},
    40: {"LIVE1": Figures(32.75, 0.9174, 32.12)},
}
# name: variant, middle of the file's name. The large ones were trained on more data.
_REAL: Mapping[str, tuple[str, str]] = {
    "real-x2-gan": ("real-m-x2", "DFO_s64w8_SwinIR-M_x2_GAN"),
    "real-x4-gan": ("real-m-x4", "DFO_s64w8_SwinIR-M_x4_GAN"),
    "real-x4-gan-large": ("real-l-x4", "DFOWMFC_s64w8_SwinIR-L_x4_GAN"),
    "real-x2-psnr": ("real-m-x2", "DFO_s64w8_SwinIR-M_x2_PSNR"),
    "real-x4-psnr": ("real-m-x4", "DFO_s64w8_SwinIR-M_x4_PSNR"),
    "real-x4-psnr-large": ("real-l-x4", "DFOWMFC_s64w8_SwinIR-L_x4_PSNR"),
}
# name: exact size in bytes and sha256, where both are known.
_VERIFIED: Mapping[str, tuple[int, str]] = {
    "classical-x2-div2k": (59019939, "ac6d4895f73aa1b3d563937e29dcedcfdff4d401280e248f23db3c6f68e8343b"),
    "classical-x3-div2k": (59758497, "d835497f2332aae839ae19a033290ced8686fa2a795f76fc5153ec2c83003f75"),
    "classical-x4-div2k": (59611499, "129dc773ba2d4c07f3eb0bb116fbe692011b7cc072d9ca12797cd3748198610a"),
    "classical-x8-div2k": (60202999, "3c3ae9238a7125e52aab457df052aa8981adb2fb8e42b6d4112a96b3c19432d7"),
    "classical-x2-df2k": (67277475, "2032ebf8f401dd3ce2fae5f3852117cb72101ec6ed8358faa64c2a3fa09ed4ac"),
    "classical-x3-df2k": (68016035, "6eca3aee41f53322cd2f5a13650e212b80be8f3c0439d6fe19aef13ab1f509c7"),
    "classical-x4-df2k": (67869037, "4e78e33f22c1aa8a773db0cf4a7381bae97c2362c717f155439ebc690cbd9215"),
    "classical-x8-df2k": (68460535, "6b522c1ea5c21006ce3398797eb20b131ca0024cc6e7b8f3d5d29fad1310a49c"),
    "published-lightweight-x2": (
        17147989,
        "193b229909ca89cd8b55de9c9e7fce146ae759d59dfcd78d8feb9dd1d6fa0fd7",
    ),
    "published-lightweight-x3": (
        17180437,
        "53af0cf0b15876752c1c2646a71444f739523b3d562e126d200521a817ab5d2c",
    ),
    "published-lightweight-x4": (
        17225941,
        "09fad24e32ae62722e1a055efde9921328f4137981bab0a42a4a3a806306c58e",
    ),
    "real-x2-gan": (66974517, "f397408977a3e07eb06afb7238d453a12ef35ebab7328a54241f307860dbe342"),
    "real-x4-gan": (67129861, "b9afb61e65e04eb7f8aba5095d070bbe9af28df76acd0c9405aeb33b814bcfc6"),
    "real-x4-gan-large": (142473939, "99adfa91350a84c99e946c1eb3d8fce34bc28f57d807b09dc8fe40a316328c0a"),
    "color-denoise-15": (122905743, "917cd972f7ba80786871add249ad43e4477ce2db59b4ad63e2fa446f7221d013"),
    "color-denoise-25": (122905743, "39e264322ba762682de5acee4705aaeda7077b947204b9ce1899519ebd540724"),
    "color-jpeg-10": (102873665, "0005b707e0e6f75b4d13c7447e2f184858ddbdcec95aa7eb8c07e8afa1d26bd9"),
    "color-jpeg-20": (102873665, "1b47fa32f358630e3de3430c91296535a0011b16f0518dacd5b847f123023d45"),
    "color-jpeg-40": (102873665, "265c18d8809aaca0cd97a6283bee0ed1883ab88395e456381264cac2bb7b5867"),
}


def _model(
    name: str,
    task: Task,
    variant: str,
    file: str,
    *,
    scale: int = 1,
    strength: int | None = None,
    figures: Mapping[str, Figures],
) -> Model:
    size_bytes, sha256 = _VERIFIED.get(name, (None, None))
    return Model(
        name=name,
        task=task,
        scale=scale,
        variant=variant,
        strength=strength,
        origin=Origin.PUBLISHED,
        file=file,
        url=f"{RELEASE_URL}/{file}",
        sha256=sha256,
        size_bytes=size_bytes,
        licence=LICENCE,
        figures=MappingProxyType(dict(figures)),
    )


def _super_resolution() -> Iterator[Model]:
    for (data, scale), figures in _CLASSICAL.items():
        patch_px = 48 if data == "DIV2K" else 64
        yield _model(
            f"classical-x{scale}-{data.lower()}",
            Task.SUPER_RESOLUTION,
            f"classical-x{scale}",
            f"001_classicalSR_{data}_s{patch_px}w8_SwinIR-M_x{scale}.pth",
            scale=scale,
            figures=dict(zip(_SR_SETS, figures, strict=False)),
        )
    # The plain names belong to the models in the package.
    for scale, figures in _LIGHTWEIGHT.items():
        yield _model(
            f"published-lightweight-x{scale}",
            Task.SUPER_RESOLUTION,
            f"lightweight-x{scale}",
            f"002_lightweightSR_DIV2K_s64w8_SwinIR-S_x{scale}.pth",
            scale=scale,
            figures=dict(zip(_SR_SETS, figures, strict=True)),
        )


def _real_super_resolution() -> Iterator[Model]:
    for name, (variant, middle) in _REAL.items():
        stem = f"003_realSR_BSRGAN_{middle}"
        scale = int(variant[-1])
        model = _model(name, Task.REAL_SUPER_RESOLUTION, variant, f"{stem}.pth", scale=scale, figures={})
        yield model
        # The same network with the weights of training beside their running average, to train on from.
        file = f"{stem}-with-dict-keys-params-and-params_ema.pth"
        yield replace(
            model,
            name=f"{name}-finetune",
            file=file,
            url=f"{RELEASE_URL}/{file}",
            sha256=None,
            size_bytes=None,
        )


def _denoising() -> Iterator[Model]:
    for color, number, table, sets in (
        ("gray", "004", _GRAY_DENOISE, _GRAY_DENOISE_SETS),
        ("color", "005", _COLOR_DENOISE, _COLOR_DENOISE_SETS),
    ):
        for noise, psnrs in table.items():
            yield _model(
                f"{color}-denoise-{noise}",
                Task.DENOISING,
                f"{color}-denoise",
                f"{number}_{color}DN_DFWB_s128w8_SwinIR-M_noise{noise}.pth",
                strength=noise,
                figures=dict(zip(sets, map(Figures, psnrs), strict=True)),
            )


def _jpeg() -> Iterator[Model]:
    for color, kind, table in (("gray", "CAR", _GRAY_JPEG), ("color", "colorCAR", _COLOR_JPEG)):
        for quality, figures in table.items():
            yield _model(
                f"{color}-jpeg-{quality}",
                Task.JPEG,
                f"{color}-jpeg",
                f"006_{kind}_DFWB_s126w7_SwinIR-M_jpeg{quality}.pth",
                strength=quality,
                figures=figures,
            )


PUBLISHED: Mapping[str, Model] = MappingProxyType(
    {
        model.name: model
        for models in (_super_resolution(), _real_super_resolution(), _denoising(), _jpeg())
        for model in models
    }
)
