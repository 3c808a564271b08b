"""Forms of pictures that Python's users have: each is restored as the array that it stands for."""

import io

import numpy as np
import PIL.Image
import pytest
import torch

from swinir import Enlarger, TargetSize, imaging
from swinir.engine import Restorer
from swinir.model import SwinIR, SwinIRConfig

CONFIG = SwinIRConfig(
    scale=2, in_channels=3, embed_dim=4, depths=(1,), num_heads=(1,), upsampler="pixelshuffledirect"
)
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
RGB = np.ascontiguousarray(PIXELS[:, :, :3])


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state_dict = SwinIR(CONFIG).state_dict()
    return Restorer(CONFIG, state_dict, device="cpu", precision="fp32")


@pytest.mark.parametrize(
    ("mode", "pixels"),
    [("L", PIXELS[:, :, 0]), ("LA", PIXELS[:, :, :2]), ("RGB", RGB), ("RGBA", PIXELS)],
)
def test_a_pillow_image_stays_one_of_its_mode(restorer, mode, pixels):
    picture = PIL.Image.fromarray(pixels)
    assert picture.mode == mode
    picture.info["icc_profile"] = b"profile"
    restored = restorer(picture)
    assert (restored.mode, restored.size) == (mode, (24, 18))
    assert restored.info["icc_profile"] == b"profile"
    assert np.array_equal(np.asarray(restored), restorer(pixels))


def test_sixteen_bits_of_pillow_stay(restorer):
    grey = PIXELS[:, :, 0].astype(np.uint16) * 257
    restored = restorer(PIL.Image.fromarray(grey))
    assert restored.mode == "I;16"
    assert np.array_equal(np.asarray(restored), restorer(grey))


@pytest.mark.parametrize(
    ("picture", "mode"),
    [
        (PIL.Image.fromarray(RGB).quantize(8), "RGB"),
        (PIL.Image.fromarray(RGB).convert("CMYK"), "RGB"),
        (PIL.Image.fromarray(RGB).convert("1"), "L"),
    ],
)
def test_other_modes_of_pillow_become_one_that_is_restored(restorer, picture, mode):
    restored = restorer(picture)
    assert restored.mode == mode
    assert np.array_equal(np.asarray(restored), restorer(np.asarray(picture.convert(mode))))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_tensor_keeps_its_type_and_its_layout(restorer, dtype):
    values = RGB if dtype == torch.uint8 else RGB / 255
    placed = torch.from_numpy(values).to(dtype)
    planar = placed.permute(2, 0, 1)
    restored = restorer(planar)
    assert (restored.dtype, restored.shape) == (dtype, (3, 18, 24))
    assert torch.equal(restored.permute(1, 2, 0), restorer(placed))
    expected = restorer(placed.numpy() if dtype == torch.uint8 else placed.float().numpy())
    assert torch.equal(restored.permute(1, 2, 0), torch.from_numpy(expected).to(dtype))


def test_tensors_of_a_batch_are_restored_one_by_one(restorer):
    batch = torch.from_numpy(np.stack([RGB, RGB[::-1]])).permute(0, 3, 1, 2)
    restored = restorer(batch)
    assert restored.shape == (2, 3, 18, 24)
    assert torch.equal(restored[1], restorer(batch[1]))


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_floats_of_other_sizes_keep_their_type(restorer, dtype):
    given = (RGB / 255).astype(dtype)
    restored = restorer(given)
    assert restored.dtype == dtype
    assert np.array_equal(restored, restorer(given.astype(np.float32)).astype(dtype))


def test_bools_are_black_and_white(restorer):
    assert np.array_equal(restorer(RGB > 99), restorer((RGB > 99).astype(np.uint8) * 255))


@pytest.mark.parametrize("given", ["a.png", [[1]], None])
def test_what_is_no_picture_is_named(restorer, given):
    with pytest.raises(TypeError, match=f"got {type(given).__name__}"):
        restorer(given)


def test_any_size_takes_the_same_forms(restorer):
    enlarger = Enlarger(TargetSize(scale=1.5), models={2: restorer})
    assert enlarger(PIL.Image.fromarray(RGB)).size == (18, 14)
    assert enlarger(torch.from_numpy(RGB).permute(2, 0, 1)).shape == (3, 14, 18)


@pytest.mark.parametrize("form", [bytes, io.BytesIO])
def test_content_of_a_file_is_restored_into_a_new_folder(restorer, form, tmp_path):
    imaging.write(imaging.Image(pixels=RGB), tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    restorer.restore_file(form(content), tmp_path / "new" / "b.png")
    assert np.array_equal(imaging.read(tmp_path / "new" / "b.png").pixels, restorer(RGB))
