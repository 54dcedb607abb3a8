import csv
import errno
import io
import os
from pathlib import Path

import pytest

from service.commands.resumable_csv import ResumableCsv
from service.csv_text import csv_text as text
from service.errors import BadInput

COLUMNS = ("name", "value")
ENTRIES = {
    "a": [("a", 1)],
    "b, c": [("b, c", 1), ("b, c", 2)],
    'd"\nd': [('d"\nd', 1)],
    "e\re": [("e\re", 1)],
}
WHOLE = text([COLUMNS, *(row for rows in ENTRIES.values() for row in rows)])


def filled(path: Path) -> str:
    """What is there once all that lacks has been added."""
    table = ResumableCsv(path, COLUMNS)
    for name, rows in ENTRIES.items():
        if name not in table.done:
            table.write(text(rows))
    table.close()
    return path.read_bytes().decode()


UNSEEN = WHOLE.index('"b, c",2')
"""Cut exactly here, the file ends with a whole line, and nobody can tell that one is missing."""


@pytest.mark.parametrize("cut", [at for at in range(len(WHOLE) + 1) if at != UNSEEN])
def test_wherever_a_file_was_cut_short_it_is_completed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(WHOLE[:cut].encode())
    assert filled(path) == WHOLE


def test_an_empty_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(WHOLE.encode() + b"\r\n")
    table = ResumableCsv(path, COLUMNS)
    assert table.done == ENTRIES.keys()
    table.close()


def test_a_file_of_another_kind_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("other,columns\n")
    with pytest.raises(BadInput, match="choose another name"):
        ResumableCsv(path, COLUMNS)
    assert path.read_text() == "other,columns\n"


def test_two_runs_never_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    first = ResumableCsv(path, COLUMNS)
    with pytest.raises(BadInput, match="another run"):
        ResumableCsv(path, COLUMNS)
    first.close()
    ResumableCsv(path, COLUMNS).close()


def test_every_reader_finds_the_names_as_they_are() -> None:
    names = [row[0] for row in csv.reader(io.StringIO(WHOLE, newline=""))][1:]
    assert list(dict.fromkeys(names)) == list(ENTRIES)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(text([COLUMNS]).encode() + b'"' + b"x" * 200_000)
    with pytest.raises(BadInput, match="damaged"):
        ResumableCsv(path, COLUMNS)


@pytest.mark.parametrize("room", [0, 3])
def test_an_entry_for_which_the_disk_has_no_room_is_not_there(
    tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    table = ResumableCsv(path, COLUMNS)
    table.write("a,1\n")
    write = os.write

    def full(file: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:room])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"No space.*out\.csv"):
        table.write("b,1\nb,2\n")
    table.close()
    assert path.read_text() == "name,value\na,1\n"
