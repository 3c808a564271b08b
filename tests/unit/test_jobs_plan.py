"""Planning what is read and written for many files."""

from pathlib import Path

import pytest

from swinir.errors import ImageReadError
from swinir.jobs import plan_jobs


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
    jobs = plan_jobs([tmp_path / "in"], output=tmp_path / "out", label="x2")
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
    jobs = plan_jobs([tmp_path / "in", tmp_path / "a.jpg"], label="x4")
    assert [job.source for job in jobs] == [tmp_path / "in", tmp_path / "a.jpg"]


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


def test_results_of_an_earlier_run_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "a_x4.jpg", tmp_path / "other_x4.jpg")
    assert [job.source.name for job in plan_jobs([tmp_path], label="x4")] == ["a.jpg", "other_x4.jpg"]


def test_results_in_a_folder_within_the_input_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg", tmp_path / "out" / "a_x4.jpg")
    jobs = plan_jobs([tmp_path], output=tmp_path / "out", label="x4")
    assert [job.source for job in jobs] == [tmp_path / "a.jpg"]


def test_file_named_twice_is_restored_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    jobs = plan_jobs([tmp_path / "a.jpg", tmp_path, tmp_path / "." / "a.jpg"], label="x4")
    assert len(jobs) == 1
    assert not jobs[0].is_listed


def test_two_inputs_for_one_output_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one/a\.jpg and .*two/a\.jpg would both be written"):
        destinations([tmp_path / "one/a.jpg", tmp_path / "two/a.jpg"], output=tmp_path / "out")


def test_output_over_its_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would replace the input"):
        destinations([tmp_path / "a.jpg"], output=tmp_path / "a.jpg")


def test_output_over_another_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would replace the input"):
        destinations([tmp_path / "a.jpg", tmp_path / "a_x4.jpg"])


def test_output_over_its_input_by_another_name_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="would replace the input"):
        destinations([tmp_path / "link.jpg"], output=tmp_path / "a.jpg")
