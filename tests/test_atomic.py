from pathlib import Path

import pytest

from service.atomic import atomic_write


def test_a_file_appears_under_its_name_only_once_complete(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_write(path) as file:
        file.write(b"complete")
        assert not path.exists()
    assert path.read_bytes() == b"complete"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_existing_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named_as_the_caller_did(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "out"
    with pytest.raises(FileNotFoundError) as error, atomic_write(path):
        pass
    assert error.value.filename == str(path)


def test_a_file_that_cannot_take_its_name_is_named_as_the_caller_did(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as error, atomic_write(path):
        pass
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


def test_concurrent_writes_of_one_file_do_not_interfere(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_write(path) as first:
        first.write(b"first")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
