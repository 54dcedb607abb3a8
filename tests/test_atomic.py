import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from service import atomic
from service.atomic import atomic_write
from tests.disks import room_for


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


@pytest.mark.parametrize("size", [1001, 100_000])  # written at the end, and at once
def test_a_file_for_which_there_is_no_room_is_named_as_the_caller_did(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "out"
    with (
        room_for(1000),
        pytest.raises(OSError, match="too large") as error,
        atomic_write(path) as file,
    ):
        file.write(bytes(size))
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_only_files_are_replaced(tmp_path: Path) -> None:
    folder, pipe, link = (tmp_path / name for name in ("folder", "pipe", "link"))
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (folder, pipe, link):
        with pytest.raises(FileExistsError) as error, atomic_write(path):
            pytest.fail("refused before anything is written")
        assert error.value.filename == str(path)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "pipe", "link"}
    assert pipe.is_fifo()


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_link_stays_and_the_file_that_it_leads_to_is_written(
    tmp_path: Path, before: bytes | None
) -> None:
    file, link = tmp_path / "files" / "out", tmp_path / "link"
    file.parent.mkdir()
    if before is not None:
        file.write_bytes(before)
    link.symlink_to("files/out")
    with atomic_write(link) as out:
        out.write(b"complete")
    assert link.is_symlink()
    assert file.read_bytes() == b"complete"
    assert list(file.parent.iterdir()) == [file]


def test_concurrent_writes_of_one_file_do_not_interfere(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_write(path) as first:
        first.write(b"first")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # nobody can close it
def test_an_interruption_at_any_line_of_its_creation_leaves_no_file(tmp_path: Path) -> None:
    def enter_until(number: int) -> bool:
        left = number

        def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401  # as typeshed has it
            nonlocal left
            if frame.f_code.co_filename != atomic.__file__:
                return None
            left -= event == "line"
            if not left:
                raise KeyboardInterrupt
            return trace

        writing = atomic_write(tmp_path / "out")
        sys.settrace(trace)
        try:
            writing.__enter__()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        writing.__exit__(None, None, None)
        return False

    lines = 1
    while enter_until(lines):
        assert list(tmp_path.iterdir()) == []
        lines += 1
    assert lines > 5
