"""Planning what is read and written for many files."""

import os
from pathlib import Path

import numpy as np
import pytest

from swinir import imaging
from swinir.engine import FileRestoration, hash_file, read_mark
from swinir.errors import ImageReadError
from swinir.jobs import plan_jobs
from swinir.jobs.inputs import is_film

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="\xc3\xa4"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


class Same:
    """Stands for a restorer."""

    settings = 'a "model" <b> & c ×1'

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def __call__(self, image: imaging.Image, progress: object = None) -> imaging.Image:
        return image


SAME = Same()


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def destinations(inputs: list[Path], **options: object) -> list[Path]:
    return [job.destination for job in plan_jobs(inputs, label="x4", **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a_x4.jpg"),
        ("a.JPEG", "a_x4.JPEG"),
        ("a.b.png", "a.b_x4.png"),
        ("a.gif", "a_x4.png"),
        ("a.heic", "a_x4.png"),
        ("scan", "scan_x4.png"),
    ],
)
def test_output_stands_beside_its_input_in_a_fit_format(name: str, expected: str) -> None:
    assert destinations([Path("photos") / name]) == [Path("photos") / expected]


def test_output_format_can_be_chosen() -> None:
    assert destinations([Path("a.jpg")], suffix=".webp") == [Path("a_x4.webp")]


def test_output_format_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\.bmp"):
        plan_jobs([Path("a.jpg")], label="x4", suffix=".bmp")


@pytest.mark.parametrize("label", ["", "a/b", "..\\x"])
def test_label_that_is_no_part_of_a_name_is_an_error(label: str) -> None:
    with pytest.raises(ValueError, match="label"):
        plan_jobs([Path("a.jpg")], label=label)


def test_output_of_one_file_may_be_a_file(tmp_path: Path) -> None:
    output = tmp_path / "large.tif"
    assert destinations([tmp_path / "a.jpg"], output=output) == [output]


def test_output_without_an_image_suffix_is_a_folder(tmp_path: Path) -> None:
    assert destinations([tmp_path / "a.jpg"], output=tmp_path / "out") == [tmp_path / "out" / "a_x4.jpg"]


def test_output_that_is_a_folder_stays_one_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "strange.png"
    folder.mkdir()
    assert destinations([tmp_path / "a.jpg"], output=folder) == [folder / "a_x4.jpg"]


def test_many_inputs_into_one_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name a folder"):
        destinations([tmp_path / "a.jpg", tmp_path / "b.jpg"], output=tmp_path / "out.png")


def test_folder_into_one_file_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.jpg", tmp_path / "taken.txt")
    with pytest.raises(ValueError, match="name a folder"):
        destinations([tmp_path / "in"], output=tmp_path / "taken.txt")


def test_folder_stands_for_its_images_sorted_and_in_their_places(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / name for name in ("b.png", "a.jpg", "sub/c.TIF", "notes.txt", ".hidden.png")))
    jobs = plan_jobs([tmp_path / "in"], output=tmp_path / "out", label="x2").jobs
    assert [job.source.relative_to(tmp_path / "in").as_posix() for job in jobs] == [
        "a.jpg",
        "b.png",
        "sub/c.TIF",
    ]
    assert jobs[2].destination == tmp_path / "out" / "sub" / "c_x2.TIF"
    assert all(job.is_listed for job in jobs)


def test_folder_without_images_is_an_error_that_names_it(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "notes.txt")
    with pytest.raises(ImageReadError, match="in has no image files"):
        plan_jobs([tmp_path / "in"], label="x4")


def test_folder_without_images_among_others_stops_none_of_them(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "notes.txt", tmp_path / "a.jpg")
    jobs = plan_jobs([tmp_path / "in", tmp_path / "a.jpg"], label="x4").jobs
    assert [job.source for job in jobs] == [tmp_path / "a.jpg", tmp_path / "in"]
    assert "without image files" in str(jobs[1].problem)


def test_name_that_no_file_can_have_is_left_to_its_turn(tmp_path: Path) -> None:
    name = Path("a" * 300 + ".png")
    assert [job.source for job in plan_jobs([name], label="x4", output=tmp_path / ("b" * 300))] == [name]


@pytest.mark.parametrize("name", ["out.bmp", "out.HEIC"])
def test_output_file_of_a_format_that_cannot_be_written_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        destinations([tmp_path / "a.jpg"], output=tmp_path / name)


def test_output_file_of_another_format_than_asked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave one out"):
        destinations([tmp_path / "a.jpg"], output=tmp_path / "out.png", suffix=".jpg")
    assert destinations([tmp_path / "a.jpg"], output=tmp_path / "out.jpeg", suffix=".jpg")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("xmp", [None, XMP])
def test_results_of_earlier_runs_are_no_inputs_whatever_they_are_called(
    suffix: str, xmp: bytes | None, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (420, 420, 3), dtype=np.uint8)
    metadata = imaging.Metadata(xmp=xmp, exif=None)
    imaging.write(imaging.Image(pixels=pixels, metadata=metadata), tmp_path / f"a{suffix}")
    file = FileRestoration(source=tmp_path / f"a{suffix}", destination=tmp_path / f"b{suffix}")
    file.write(imaging.read(file.source), SAME)
    mark = read_mark(file.destination)
    assert mark is not None
    assert mark.settings == SAME.settings
    assert mark.source == hash_file(file.source)
    plan = plan_jobs([tmp_path], label="x2")
    assert [job.source for job in plan] == [file.source]
    assert plan.own_results == (file.destination,)
    assert [job.source for job in plan_jobs([file.destination], label="x2")] == [file.destination]


def test_what_is_only_called_like_a_result_is_an_input(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "a_x4.jpg", tmp_path / "other_x4.jpg")
    plan = plan_jobs([tmp_path], label="x4")
    assert [(job.source.name, job.problem is None) for job in plan] == [
        ("a.jpg", False),
        ("a_x4.jpg", True),
        ("other_x4.jpg", True),
    ]
    assert "would replace the input" in str(plan.jobs[0].problem)


def test_file_named_twice_is_restored_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    jobs = plan_jobs([tmp_path / "a.jpg", tmp_path, tmp_path / "." / "a.jpg"], label="x4").jobs
    assert len(jobs) == 1
    assert not jobs[0].is_listed


def test_names_that_collide_are_told_apart(tmp_path: Path) -> None:
    inputs = [tmp_path / name for name in ("one/a.gif", "one/a.png", "two/a.png", "b.png")]
    names = [path.name for path in destinations(inputs, output=tmp_path / "out")]
    assert names == ["a-gif_x4.png", "a_x4.png", "a-png_x4.png", "b_x4.png"]


def test_a_pair_that_cannot_be_told_apart_costs_one_of_it(tmp_path: Path) -> None:
    inputs = [tmp_path / place / "same" / "a.png" for place in ("one", "two", "three", "four")]
    jobs = plan_jobs([*inputs, tmp_path / "b.png"], output=tmp_path / "out", label="x4").jobs
    assert [job.destination.name for job in jobs if job.problem is None] == [
        "a_x4.png",
        "a-png_x4.png",
        "same-a_x4.png",
        "b_x4.png",
    ]
    assert "one/same/a.png and " in str(jobs[3].problem)


def test_output_over_its_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would replace the input"):
        destinations([tmp_path / "a.jpg"], output=tmp_path / "a.jpg")


def test_output_over_another_input_costs_that_job(tmp_path: Path) -> None:
    jobs = plan_jobs([tmp_path / "a.jpg", tmp_path / "a_x4.jpg"], label="x4").jobs
    assert [job.problem is None for job in jobs] == [False, True]


def test_output_over_its_input_by_another_name_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="would replace the input"):
        destinations([tmp_path / "link.jpg"], output=tmp_path / "a.jpg")


def test_patterns_stand_for_what_fits_them(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("in/a.png", "in/b.jpg", "in/sub/c.png", "in/[d].png")))
    for pattern, expected in (
        ("in/*.png", ["[d]_x4.png", "a_x4.png"]),
        ("in/**/*.png", ["[d]_x4.png", "a_x4.png", "sub/c_x4.png"]),
        ("in/s*", ["sub/c_x4.png"]),
        ("in/[d].png", ["[d]_x4.png"]),
    ):
        found = destinations([tmp_path / pattern], output=tmp_path / "out")
        assert [path.relative_to(tmp_path / "out").as_posix() for path in found] == expected, pattern


def test_folders_are_narrowed_by_patterns(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.png", "b.tif", "drafts/c.tif", "drafts/d.png")))

    def names(**options: list[str]) -> list[str]:
        return [job.source.name for job in plan_jobs([tmp_path], label="x4", **options)]  # type: ignore[arg-type]

    assert names(include=["*.tif"]) == ["b.tif", "c.tif"]
    assert names(exclude=["drafts/*"]) == ["a.png", "b.tif"]
    assert names(include=["*.tif"], exclude=["drafts/*"]) == ["b.tif"]


def test_files_of_a_list_keep_their_place_and_count_as_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "in" / "sub" / "a.png", tmp_path / "b.png")
    monkeypatch.chdir(tmp_path)
    listed = [Path("in/sub/a.png"), tmp_path / "b.png"]
    jobs = plan_jobs([], listed=listed, output=Path("out"), label="x2").jobs
    assert [job.destination for job in jobs] == [Path("out/in/sub/a_x2.png"), Path("out/b_x2.png")]
    assert all(job.is_listed for job in jobs)


def test_a_folder_names_kinds_that_are_not_read_and_takes_pictures_of_any_name(tmp_path: Path) -> None:
    picture = imaging.encode(imaging.Image(pixels=np.zeros((2, 2, 3), np.uint8)), "png")[0]
    (tmp_path / "picture.dat").write_bytes(picture)
    (tmp_path / "deep.exr").write_bytes(b"v/1\x01 and so on")
    (tmp_path / "notes.txt").write_text("#define nothing")
    (tmp_path / "papers.zip").write_bytes(b"PK\x03\x04")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    plan = plan_jobs([tmp_path], label="x2")
    assert [(job.source.name, job.problem is None) for job in plan] == [
        ("picture.dat", True),
        ("deep.exr", False),
    ]
    assert "OpenEXR" in str(plan.jobs[1].problem)
    assert plan.num_others == 2


def test_a_pipe_is_no_film_and_nothing_is_read_of_it(tmp_path: Path) -> None:
    pipe = tmp_path / "a.mkv"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        os.write(writer, b"\x1a\x45\xdf\xa3" + bytes(4096))
        assert not is_film(pipe)
    finally:
        os.close(writer)
