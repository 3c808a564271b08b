"""Files of a test set are what their names and folders say, in the layouts of usual downloads."""

from pathlib import Path

import numpy as np
import pytest

from swinir import imaging
from swinir.data.layouts import image_files, original_files, pair_files
from swinir.data.pairs import denoising_pairs
from swinir.errors import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def pairs_of(folder: Path, scale: int) -> dict[str, tuple[str, str | None]]:
    """Originals and their low-resolution files by name, as paths within the set."""

    def within(path: Path) -> str:
        return path.relative_to(folder.parent).as_posix()

    return {
        files.name: (within(files.original), None if files.low is None else within(files.low))
        for files in pair_files(folder, scale)
    }


LAYOUTS = {
    "EDSR": (
        ("HR/a.png", "LR_bicubic/X2/ax2.png", "LR_bicubic/X4/ax4.png"),
        "HR/a.png",
        "LR_bicubic/X2/ax2.png",
    ),
    "BasicSR": (
        ("GTmod12/a.png", "LRbicx2/a.png", "LRbicx4/a.png", "original/a.png"),
        "original/a.png",
        "LRbicx2/a.png",
    ),
    "cropped only": (("GTmod12/a.png", "LRbicx2/a.png"), "GTmod12/a.png", "LRbicx2/a.png"),
    "cropped for each scale": (
        ("GTmod2/a.png", "GTmod3/a.png", "GTmod4/a.png", "LRbicx2/a.png", "LRbicx3/a.png"),
        "GTmod2/a.png",
        "LRbicx2/a.png",
    ),
    "RCAN": (
        (
            "HR/Set5/x2/a_HR_x2.png",
            "HR/Set5/x3/a_HR_x3.png",
            "LR/LRBI/Set5/x2/a_LRBI_x2.png",
            "LR/LRBD/Set5/x3/a.png",
        ),
        "HR/Set5/x2/a_HR_x2.png",
        "LR/LRBI/Set5/x2/a_LRBI_x2.png",
    ),
    "RCAN without marks": (
        ("HR/Set5/x2/a.png", "HR/Set5/x4/a.png", "LR/LRBI/Set5/x2/a.png", "LR/LRBI/Set5/x4/a.png"),
        "HR/Set5/x2/a.png",
        "LR/LRBI/Set5/x2/a.png",
    ),
    "SelfExSR": (
        (
            "image_SRF_2/img_001_SRF_2_HR.png",
            "image_SRF_2/img_001_SRF_2_LR.png",
            "image_SRF_2/img_001_SRF_2_SRCNN.png",
            "image_SRF_4/img_001_SRF_4_HR.png",
        ),
        "image_SRF_2/img_001_SRF_2_HR.png",
        "image_SRF_2/img_001_SRF_2_LR.png",
    ),
    "folders of scales": (("a.png", "x2/a.png", "x3/a.png", "x4/a.png"), "a.png", "x2/a.png"),
    "names with a scale": (("a.png", "ax2.png", "a_x4.png"), "a.png", "ax2.png"),
    "Hugging Face": (
        ("Set_HR/a.png", "Set_LR_x2/a.png", "Set_LR_x3/a.png"),
        "Set_HR/a.png",
        "Set_LR_x2/a.png",
    ),
    "DIV2K": (
        ("DIV2K_valid_HR/a.png", "DIV2K_valid_LR_bicubic/X2/ax2.png", "DIV2K_valid_LR_unknown/X2/ax2.png"),
        "DIV2K_valid_HR/a.png",
        "DIV2K_valid_LR_bicubic/X2/ax2.png",
    ),
    "originals alone": (("a.png",), "a.png", None),
    "copies for another scale": (("HR/a.png", "LR_bicubic/X3/ax3.png"), "HR/a.png", None),
    "copies by other means": (("HR/a.png", "LR_unknown/X2/ax2.png", "LRBD/X2/a.png"), "HR/a.png", None),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_originals_and_their_copies_are_found(tmp_path: Path, layout: str) -> None:
    names, original, low = LAYOUTS[layout]
    touch(tmp_path / "Set", *names)
    ((found, copy),) = pairs_of(tmp_path / "Set", 2).values()
    assert found == f"Set/{original}"
    assert copy == (None if low is None else f"Set/{low}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_copy_is_an_original(tmp_path: Path, layout: str) -> None:
    names, _, _ = LAYOUTS[layout]
    touch(tmp_path / "Set", *names)
    assert len(original_files(tmp_path / "Set")) == 1


@pytest.mark.parametrize("copies", ["DIV2K_valid_LR_bicubic/X2", "DIV2K_valid_LR_x2"])
def test_copies_beside_a_folder_of_originals_are_found(tmp_path: Path, copies: str) -> None:
    touch(tmp_path, "DIV2K_valid_HR/0801.png", f"{copies}/0801x2.png")
    assert pairs_of(tmp_path / "DIV2K_valid_HR", 2) == {
        "0801": ("DIV2K_valid_HR/0801.png", f"{copies}/0801x2.png")
    }


@pytest.mark.parametrize("folder", ["LR_bicubic/X2", "LRbicx4", "Set/LR", "Set_LR_x3"])
def test_a_folder_of_copies_alone_is_refused(tmp_path: Path, folder: str) -> None:
    touch(tmp_path / folder, "a.png", "b.png")
    with pytest.raises(DataError, match="low-resolution copies"):
        original_files(tmp_path / folder)


def test_folders_that_are_links_are_gone_into_once(tmp_path: Path) -> None:
    photos, more = tmp_path / "photos", tmp_path / "more"
    for folder in (photos, more):
        folder.mkdir()
    (photos / "a.png").write_bytes(b"")
    (more / "b.png").write_bytes(b"")
    (photos / "more").symlink_to(more)
    (more / "again").symlink_to(more)
    (more / "round").symlink_to(photos)
    assert image_files(photos) == [photos / "a.png", photos / "more" / "b.png"]


def test_a_set_without_originals_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "Set", "LR_bicubic/X2/a.png", "x3/a.png")
    with pytest.raises(DataError, match="low-resolution copies only"):
        pair_files(tmp_path / "Set", 2)


def test_originals_of_another_scale_are_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "Set", "image_SRF_2/img_001_SRF_2_HR.png", "image_SRF_4/img_001_SRF_4_HR.png")
    with pytest.raises(DataError, match="originals for ×2, ×4, not for ×3"):
        pair_files(tmp_path / "Set", 3)


def test_pictures_that_a_number_ends_are_no_copies(tmp_path: Path) -> None:
    touch(tmp_path / "Set", "part_2/matrix2.png", "part_2/box3.png")
    assert len(original_files(tmp_path / "Set")) == 2


def test_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path / "Set", "day/1.png", "night/1.png")
    assert list(pairs_of(tmp_path / "Set", 2)) == ["day/1", "night/1"]


def test_all_pictures_without_a_copy_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "Set", "HR/a.png", "HR/b.png", "HR/c.png", "LR_bicubic/X2/bx2.png")
    with pytest.raises(DataError, match="no low-resolution file of a and 1 more"):
        pair_files(tmp_path / "Set", 2)


def test_pictures_of_one_name_in_two_folders_are_named_by_their_places(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        imaging.write(imaging.Image(pixels=np.zeros((16, 16, 3), np.uint8)), tmp_path / name)
    named = [pair.name for pair in denoising_pairs(tmp_path, 25, channels=3)]
    assert named == ["a/1", "b/1"]
    (tmp_path / "b/1.png").rename(tmp_path / "b/2.png")
    assert [pair.name for pair in denoising_pairs(tmp_path, 25, channels=3)] == ["1", "2"]
