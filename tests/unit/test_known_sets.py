"""Benchmarks are known by name, and a copy that differs is named with what differs."""

from pathlib import Path

import numpy as np
import pytest

from swinir import imaging
from swinir.errors import DataError
from swinir.evaluation import known_sets
from swinir.evaluation.known_sets import KnownPicture, KnownSet, check_copy, find_known_set, hash_pixels

SIZES = {"a": (50, 38), "b": (60, 48), "c": (26, 37)}


def draw(name: str) -> np.ndarray:
    width, height = SIZES[name]
    return np.random.default_rng(ord(name)).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(folder: Path, name: str, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    imaging.write(imaging.Image(pixels=np.ascontiguousarray(pixels)), folder / f"{name}.png")


@pytest.fixture
def trio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the benchmark "Trio", whole."""
    pictures = {
        name: KnownPicture(width=width, height=height, pixels=hash_pixels(draw(name)))
        for name, (width, height) in SIZES.items()
    }
    known = KnownSet(
        name="Trio",
        count=3,
        source="a test",
        sizes=frozenset(),
        pictures=pictures,
        remarks={"color-denoising": "figures are of crops"},
    )
    monkeypatch.setattr(known_sets, "known_sets", lambda: {"trio": known})
    for name in SIZES:
        save(tmp_path / "Trio", name, draw(name))
    return tmp_path / "Trio"


def test_a_whole_copy_is_verified_whatever_its_files_are_called(trio: Path) -> None:
    assert check_copy("trio", trio).is_verified
    for index, path in enumerate(sorted(trio.iterdir())):
        path.rename(trio / f"img_{index}.png")
    found = check_copy("Trio", trio)
    assert (found.known, found.is_verified, found.notes) == ("Trio", True, ())


def test_a_missing_picture_is_named(trio: Path) -> None:
    (trio / "b.png").unlink()
    found = check_copy("Trio", trio)
    assert found.is_verified is False
    assert found.notes == ("Trio lacks 1 of its 3 pictures (b): figures do not compare with published ones",)


def test_a_picture_too_many_is_named(trio: Path) -> None:
    save(trio, "guest", draw("a")[::-1])
    assert check_copy("Trio", trio).notes == ("guest is not of Trio",)


def test_a_cropped_copy_is_named_with_what_it_was_cropped_to(trio: Path) -> None:
    for name in SIZES:
        pixels = draw(name)
        save(trio, name, pixels[: len(pixels) // 12 * 12, : pixels.shape[1] // 12 * 12])
    (note,) = check_copy("Trio", trio).notes
    # One of the three is of such a size anyway.
    assert note.startswith(
        "2 of 3 pictures of Trio are cropped to multiples of 12 (a: 48×36 instead of 50×38)"
    )


def test_changed_pixels_are_named(trio: Path) -> None:
    pixels = draw("c")
    pixels[0, 0] ^= 1
    save(trio, "c", pixels)
    (note,) = check_copy("Trio", trio).notes
    assert note.startswith("c of Trio has other pixels")


def test_low_resolution_copies_are_refused_whatever_their_folder_is_called(trio: Path) -> None:
    for name in SIZES:
        save(trio, name, imaging.resize_bicubic(imaging.modcrop(draw(name), 2), 1 / 2))
    with pytest.raises(DataError, match="holds Trio in 1/2 of its size"):
        check_copy("Trio", trio)


def test_remarks_are_those_of_the_protocol(trio: Path) -> None:
    assert check_copy("Trio", trio, "color-denoising").notes == ("figures are of crops",)
    assert check_copy("Trio", trio, "classical-sr").notes == ()


def test_an_unknown_name_is_no_benchmark(trio: Path) -> None:
    found = check_copy("My holidays", trio)
    assert (found.known, found.is_verified) == (None, None)


def test_of_a_set_without_hashes_number_and_sizes_are_checked(tmp_path: Path) -> None:
    save(tmp_path / "McMaster", "1", np.zeros((12, 14, 3), np.uint8))
    found = check_copy("McMaster", tmp_path / "McMaster")
    assert found.is_verified is False
    assert found.notes == (
        "McMaster has 18 pictures, and there are 1: figures do not compare with published ones",
        "pictures of McMaster are 500×500, and there are 14×12",
    )


def test_grey_pictures_have_one_hash_in_one_channel_or_three() -> None:
    grey = draw("a")[:, :, :1]
    assert hash_pixels(grey) == hash_pixels(np.ascontiguousarray(grey.repeat(3, axis=2)))
    assert hash_pixels(grey) != hash_pixels(np.ascontiguousarray(grey.transpose(1, 0, 2)))


@pytest.mark.parametrize("name", ["Set5", "set_5", "SET 5", "B100", "bsds100", "Urban100", "LIVE1", "CBSD68"])
def test_benchmarks_are_found_by_usual_spellings(name: str) -> None:
    assert find_known_set(name) is not None


def test_every_listed_benchmark_has_its_number_of_pictures_and_one_hash_each() -> None:
    for known in known_sets.known_sets().values():
        hashes = {picture.pixels for picture in known.pictures.values()}
        assert len(hashes) == len(known.pictures)
        assert len(known.pictures) in (0, known.count)


@pytest.mark.parametrize("name", ["Set5", "Set12", "classic5"])
def test_the_copies_at_hand_are_whole(shared: Path, name: str) -> None:
    assert check_copy(name, shared / "testsets" / name).is_verified
