"""Where training pictures are: a file that is mapped again as long as it fits, lists that name what lacks."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from swinir import imaging
from swinir.data import CropLoader, PixelStore
from swinir.data.store import open_store
from swinir.data.stored import list_training_files
from swinir.errors import DataError

CPU = torch.device("cpu")


def pixels_of(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    imaging.write(
        imaging.Image(pixels=pixels, alpha=None, profile=None, metadata=imaging.Metadata(), notes=()), path
    )
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        save(tmp_path / "photos" / f"{number}.png", pixels_of(20 + number, 30 - number, number))
    return tmp_path / "photos"


def opened(source: Path, cache: Path | None = None, *, channels=3, scale=2, smallest_px=16) -> PixelStore:
    return open_store(source, channels=channels, scale=scale, smallest_px=smallest_px, cache=cache)


def same(one: PixelStore, other: PixelStore) -> bool:
    return all(torch.equal(value, vars(other)[name]) for name, value in vars(one).items())


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path, channels=None):
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("swinir.data.store.read_rounded", refuse)


def caches(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.u8"))


def test_a_store_in_a_file_holds_what_one_in_memory_holds(photos, tmp_path):
    assert same(opened(photos, tmp_path / "cache"), opened(photos))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
def test_a_store_in_a_file_is_mapped_and_not_read(photos, tmp_path):
    store = opened(photos, tmp_path / "cache")
    (name,) = caches(tmp_path / "cache")
    assert (tmp_path / "cache" / name).stat().st_size == store.pixels.numel()
    assert str(tmp_path / "cache" / name) in Path("/proc/self/maps").read_text()


def test_a_loader_draws_the_same_crops_from_a_file(photos, tmp_path):
    options = {"channels": 3, "scale": 2, "crop_px": 8, "batch_size": 4, "seed": 1, "device": CPU}
    mapped = CropLoader.from_folder(photos, **options, cache=tmp_path / "cache").batch(3)
    in_memory = CropLoader.from_folder(photos, **options).batch(3)
    assert torch.equal(mapped.lq, in_memory.lq)
    assert torch.equal(mapped.hq, in_memory.hq)


def test_unchanged_pictures_are_not_read_again(photos, tmp_path, monkeypatch):
    first = opened(photos, tmp_path / "cache")
    forbid_reading(monkeypatch)
    assert same(opened(photos, tmp_path / "cache"), first)


def test_writing_to_the_store_leaves_the_file_as_it_is(photos, tmp_path):
    first = opened(photos, tmp_path / "cache")
    kept = first.pixels.clone()
    first.pixels.zero_()
    assert torch.equal(opened(photos, tmp_path / "cache").pixels, kept)


def change_content(photos: Path) -> None:
    save(photos / "1.png", pixels_of(21, 29, 99))


def touch(photos: Path) -> None:
    stat = (photos / "1.png").stat()
    os.utime(photos / "1.png", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))


def add(photos: Path) -> None:
    save(photos / "new.png", pixels_of(20, 20, 5))


def take_away(photos: Path) -> None:
    (photos / "1.png").unlink()


def rename(photos: Path) -> None:
    (photos / "1.png").rename(photos / "renamed.png")


@pytest.mark.parametrize("change", [change_content, touch, add, take_away, rename])
def test_changed_pictures_are_read_into_another_file(photos, tmp_path, change):
    opened(photos, tmp_path / "cache")
    (first,) = caches(tmp_path / "cache")
    change(photos)
    assert same(opened(photos, tmp_path / "cache"), opened(photos))
    assert len(caches(tmp_path / "cache")) == 2
    assert first in caches(tmp_path / "cache")


@pytest.mark.parametrize("how", [{"channels": 1}, {"scale": 3}, {"smallest_px": 18}])
def test_another_way_of_reading_is_another_file(photos, tmp_path, how):
    opened(photos, tmp_path / "cache")
    assert same(opened(photos, tmp_path / "cache", **how), opened(photos, **how))
    assert len(caches(tmp_path / "cache")) == 2


def cut_pixels(pixels: Path, index: Path) -> None:
    pixels.write_bytes(pixels.read_bytes()[:-7])


def cut_a_row(pixels: Path, index: Path) -> None:
    pixels.write_bytes(pixels.read_bytes()[:-30])


def empty_pixels(pixels: Path, index: Path) -> None:
    pixels.write_bytes(b"")


def lose_pixels(pixels: Path, index: Path) -> None:
    pixels.unlink()


def cut_index(pixels: Path, index: Path) -> None:
    index.write_text(index.read_text()[:-4])


def empty_index(pixels: Path, index: Path) -> None:
    index.write_text("[]")


def foreign_index(pixels: Path, index: Path) -> None:
    index.write_text(json.dumps({"sizes": 3}))


DAMAGES = [cut_pixels, cut_a_row, empty_pixels, lose_pixels, cut_index, empty_index, foreign_index]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_error_that_says_what_to_delete(photos, tmp_path, damage):
    opened(photos, tmp_path / "cache")
    (name,) = caches(tmp_path / "cache")
    pixels = tmp_path / "cache" / name
    damage(pixels, pixels.with_suffix(".json"))
    with pytest.raises(DataError, match=rf"{name} is not the pixels .*: delete both"):
        opened(photos, tmp_path / "cache")


def test_a_file_that_was_not_finished_is_made_anew(photos, tmp_path):
    opened(photos, tmp_path / "cache")
    (name,) = caches(tmp_path / "cache")
    # The index comes last: without it, nothing tells that the pixels are whole.
    (tmp_path / "cache" / name).with_suffix(".json").unlink()
    (tmp_path / "cache" / name).write_bytes(b"half of it")
    assert same(opened(photos, tmp_path / "cache"), opened(photos))


def test_pictures_too_small_are_left_out_by_name_and_counted(photos, caplog):
    save(photos / "small.png", pixels_of(8, 40, 1))
    assert len(opened(photos).starts) == 3
    assert "small.png is 40×8, smaller than a crop of 16×16 pixels" in caplog.text
    assert "1 pictures of" in caplog.text


def test_a_cache_of_nothing_leaves_no_file_behind(photos, tmp_path):
    with pytest.raises(DataError, match="can be used, 3 are smaller than 99×99 pixels"):
        opened(photos, tmp_path / "cache", smallest_px=99)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(photos, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"cache cannot be made \(File exists\): choose another data\.cache"):
        opened(photos, tmp_path / "cache")


def a_list(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "list.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def names(files: list[Path], folder: Path) -> list[str]:
    return [os.path.relpath(file, folder) for file in files]


def test_a_list_names_pictures_and_folders_relative_to_itself(photos, tmp_path, monkeypatch):
    save(tmp_path / "more" / "deep" / "b.png", pixels_of(20, 20, 7))
    save(tmp_path / "more" / "a.jpg", pixels_of(20, 20, 8))
    monkeypatch.chdir("/")
    listing = a_list(tmp_path, "photos/2.png", "more", "photos/0.png")
    assert names(list_training_files(listing), tmp_path) == [
        "photos/2.png",
        "more/a.jpg",
        "more/deep/b.png",
        "photos/0.png",
    ]


def test_empty_lines_comments_and_blanks_around_names_are_no_names(photos, tmp_path):
    listing = a_list(tmp_path, "# training", "", "  photos/1.png  ", "   ", "#photos/2.png")
    assert names(list_training_files(listing), tmp_path) == ["photos/1.png"]


def test_a_list_may_name_whole_paths_and_names_with_blanks(photos, tmp_path):
    spaced = save(tmp_path / "my photos" / "é 1.png", pixels_of(20, 20, 3))
    assert list_training_files(a_list(tmp_path, str(photos / "0.png"), "my photos/é 1.png")) == [
        photos / "0.png",
        spaced,
    ]


def test_a_list_with_windows_line_ends_is_a_list(photos, tmp_path):
    (tmp_path / "list.txt").write_bytes(b"photos/0.png\r\nphotos/1.png\r\n")
    assert names(list_training_files(tmp_path / "list.txt"), tmp_path) == ["photos/0.png", "photos/1.png"]


def test_a_name_that_does_not_exist_is_told_with_its_list(photos, tmp_path):
    with pytest.raises(DataError, match=r"list\.txt names photos/7\.png, but there is no .*photos/7\.png"):
        list_training_files(a_list(tmp_path, "photos/0.png", "photos/7.png"))


def test_a_list_of_nothing_is_told(tmp_path):
    with pytest.raises(DataError, match=r"list\.txt names no picture"):
        list_training_files(a_list(tmp_path, "# nothing yet"))


def test_a_list_of_an_empty_folder_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no image in .*empty"):
        list_training_files(a_list(tmp_path, "empty"))


def test_a_picture_is_no_list(photos):
    with pytest.raises(DataError, match=r"0\.png is no list of pictures .*one a line"):
        list_training_files(photos / "0.png")


def test_what_does_not_exist_is_neither_folder_nor_list(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        list_training_files(tmp_path / "nowhere")


def test_a_store_of_a_list_holds_its_pictures_in_its_order(photos, tmp_path):
    store = opened(a_list(tmp_path, "photos/2.png", "photos/0.png"))
    last, first = store.pictures()
    assert np.array_equal(last, pixels_of(22, 28, 2))
    assert np.array_equal(first, pixels_of(20, 30, 0))


def test_a_damaged_picture_of_a_list_is_left_out(photos, tmp_path, caplog):
    (photos / "1.png").write_bytes(b"nothing")
    store = opened(a_list(tmp_path, "photos"))
    assert len(store.starts) == 2
    assert "1.png" in caplog.text
