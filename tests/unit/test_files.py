"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from swinir.errors import DataError
from swinir.files import renamed_when_whole, written_beside


def test_written_file_is_there_alone(tmp_path: Path) -> None:
    with written_beside(tmp_path / "a", DataError) as file:
        file.write(b"new")
        assert not (tmp_path / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_interrupted_writing_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write_half() -> None:
        with written_beside(path, DataError) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_missing_folder_is_the_error_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "no" / "a"
    with pytest.raises(DataError, match="No such file or directory"), written_beside(path, DataError):
        pass


def test_place_that_is_a_folder_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"), renamed_when_whole(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_longest_name_that_a_folder_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 255)
    with written_beside(path, DataError) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
