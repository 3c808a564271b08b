"""Pictures of any size through the Restorer by bands: the same pixels as whole, in bounded memory."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swinir import imaging
from swinir.engine import Restorer
from swinir.imaging import Band, Header, Image
from swinir.model import SwinIR, SwinIRConfig, Upsampler

FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_layer(scale: int = 2, in_channels: int = 3, **options: Any) -> Restorer:
    """The smallest network there is, with random parameters."""
    config = SwinIRConfig(
        scale=scale,
        in_channels=in_channels,
        embed_dim=4,
        depths=(1,),
        num_heads=(1,),
        window_size=8,
        mlp_ratio=1.0,
        upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT if scale > 1 else Upsampler.NONE,
    )
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(1)
    state_dict = SwinIR(config).state_dict()
    torch.random.set_rng_state(torch_state)
    return Restorer(
        config, state_dict, **{"device": "cpu", "precision": "fp32", "backend": "reference", **options}
    )


class Rows:
    """A picture in memory as a source of rows, which remembers what was asked for."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.taken: list[tuple[int, int]] = []
        self.header = Header(
            height=image.height,
            width=image.width,
            has_alpha=image.alpha is not None,
            template=replace(image, pixels=image.pixels[:1, :1], alpha=None),
            value_range=(float(image.pixels.min()), float(image.pixels.max())),
        )

    def rows(self, top: int, bottom: int) -> Band:
        self.taken.append((top, bottom))
        alpha = self.image.alpha
        return Band(self.image.pixels[top:bottom], None if alpha is None else alpha[top:bottom])


def picture(
    height: int, width: int, channels: int = 3, dtype: Any = np.uint8, *, has_alpha: bool = False
) -> Image:
    random = np.random.default_rng(0)
    unit = random.random((height, width, channels + 1), np.float32)
    values = unit if dtype == np.float32 else (unit * np.iinfo(dtype).max).astype(dtype)
    return Image(pixels=values[:, :, :channels], alpha=values[:, :, channels] if has_alpha else None)


def joined(bands: list[Band]) -> tuple[np.ndarray, np.ndarray | None]:
    alphas = [band.alpha for band in bands if band.alpha is not None]
    return np.concatenate([band.pixels for band in bands]), np.concatenate(alphas) if alphas else None


def copied(band: Band) -> Band:
    return Band(band.pixels.copy(), None if band.alpha is None else band.alpha.copy())


@given(
    height=st.integers(1, 110),
    width=st.integers(1, 110),
    tile=st.sampled_from([32, 48, 64]),
    channels=st.sampled_from([1, 3]),
    in_channels=st.sampled_from([1, 3]),
    scale=st.sampled_from([1, 2, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    has_alpha=st.booleans(),
    is_on_disk=st.booleans(),
)
@FEW
def test_picture_by_bands_is_the_picture_whole(
    monkeypatch: pytest.MonkeyPatch,
    *,
    height: int,
    width: int,
    tile: int,
    channels: int,
    in_channels: int,
    scale: int,
    dtype: Any,
    has_alpha: bool,
    is_on_disk: bool,
) -> None:
    monkeypatch.setattr("swinir.imaging.spool._MOST_BYTES_IN_MEMORY", 0 if is_on_disk else 2**26)
    monkeypatch.setattr("swinir.imaging.band._BAND_BYTES", 5_000)
    restorer = one_layer(scale, in_channels, tile=tile)
    image = picture(height, width, channels, dtype, has_alpha=has_alpha)
    whole = restorer(image)
    source = Rows(image)
    bands = [copied(band) for _, band in restorer.restore_bands(source, restorer.plan_bands(source.header))]
    pixels, alpha = joined(bands)
    # With AVX-512 products of PyTorch round otherwise in batches of another size: a level of 65535 now and then.
    off = np.abs(pixels.astype(np.float64) - whole.pixels)
    assert off.max() <= {np.uint8: 0, np.uint16: 1, np.float32: 1e-6}[dtype]
    assert np.array_equal(alpha, whole.alpha)


@given(height=st.integers(1, 300), tile=st.sampled_from([32, 40, 64]), data=st.data())
@FEW
def test_some_bands_are_those_of_the_whole_to_the_bit(height: int, tile: int, data: st.DataObject) -> None:
    restorer = one_layer(tile=tile)
    source = Rows(picture(height, 70, has_alpha=True))
    plan = restorer.plan_bands(source.header)
    whole, _ = joined([copied(band) for _, band in restorer.restore_bands(source, plan)])
    first = data.draw(st.integers(0, plan.num_bands - 1))
    bands = range(first, data.draw(st.integers(first + 1, plan.num_bands)))
    some = list(restorer.restore_bands(source, plan, bands=bands))
    assert [index for index, _ in some] == sorted(index for index, _ in some)
    assert {index for index, _ in some} == set(bands)
    pixels, _ = joined([copied(band) for _, band in restorer.restore_bands(source, plan, bands=bands)])
    assert np.array_equal(pixels, whole[plan.band_rows(bands.start)[0] : plan.band_rows(bands.stop - 1)[1]])


def test_rows_are_taken_once_from_top_to_bottom() -> None:
    restorer = one_layer(tile=32)
    source = Rows(picture(200, 50))
    list(restorer.restore_bands(source, restorer.plan_bands(source.header)))
    assert source.taken[0][0] == 0
    assert source.taken[-1][1] == 200
    assert all(above[1] == below[0] for above, below in pairwise(source.taken))


def test_rows_above_the_first_band_are_skipped() -> None:
    restorer = one_layer(tile=32)
    source = Rows(picture(400, 50))
    plan = restorer.plan_bands(source.header)
    list(restorer.restore_bands(source, plan, bands=range(8, 9)))
    assert source.taken[0][0] > 90
    assert source.taken[-1][1] < 300


def test_progress_goes_on_where_the_first_band_is() -> None:
    restorer = one_layer(tile=32)
    source = Rows(picture(200, 50))
    plan = restorer.plan_bands(source.header)
    calls: list[tuple[int, int]] = []
    bands = range(plan.num_bands - 1, plan.num_bands)
    list(restorer.restore_bands(source, plan, bands=bands, progress=lambda *call: calls.append(call)))
    total = plan.load.plan.num_tiles
    assert calls[-1] == (total, total)
    assert calls[1][0] == total - 2 * len(plan.load.plan.columns.origins)


def test_values_of_another_range_are_restored_within_it() -> None:
    image = picture(20, 20, dtype=np.float32)
    expected = one_layer()(image).pixels * 255
    source = Rows(replace(image, pixels=image.pixels * 255))
    source.header = replace(source.header, value_range=(0.0, 255.0))
    restorer = one_layer()
    plan = restorer.plan_bands(source.header)
    assert any("scaled" in note for note in plan.notes)
    rows = [band.pixels for _, band in restorer.restore_bands(source, plan)]
    np.testing.assert_allclose(np.concatenate(rows), expected, atol=1e-3)


def test_shortage_makes_the_tiles_that_follow_smaller_and_does_nothing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restorer = one_layer(tile="auto")
    image = picture(300, 300)
    expected = restorer(image).pixels
    source = Rows(image)
    plan = one_layer(tile=160).plan_bands(source.header)
    restored_px: list[int] = []
    send = restorer.executor.send

    def send_until_full(tiles: list[np.ndarray], on_layers: Any = None) -> Any:
        height, width = tiles[0].shape[:2]
        if restored_px and height * width > plan.load.plan.tile_pixels // 4:
            raise MemoryError
        restored_px.append(height * width)
        return send(tiles, on_layers)

    monkeypatch.setattr(restorer.executor, "send", send_until_full)
    pixels, _ = joined([copied(band) for _, band in restorer.restore_bands(source, plan)])
    # The first tile was there before memory ran out, and stays.
    assert restored_px[0] == plan.load.plan.tile_pixels
    assert len(restored_px) > 4 * plan.load.plan.num_tiles - 4
    assert source.taken[-1][1] == 300
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_file_by_bands_is_the_file_restored_whole(tmp_path: Path) -> None:
    restorer = one_layer(tile=48)
    imaging.write(picture(150, 130, has_alpha=True), tmp_path / "small.png")
    restorer.restore_file(tmp_path / "small.png", tmp_path / "whole.png")
    with imaging.ImageReader(tmp_path / "small.png") as reader:
        plan = restorer.plan_bands(reader.header)
        with imaging.ImageWriter(tmp_path / "bands.png", plan.header) as writer:
            for _, band in restorer.restore_bands(reader, plan):
                writer.append(band)
            writer.finish()
    bands, whole = (imaging.read(tmp_path / f"{name}.png") for name in ("bands", "whole"))
    assert np.array_equal(bands.pixels, whole.pixels)
    assert bands.alpha is not None
    assert np.array_equal(bands.alpha, np.asarray(whole.alpha))
