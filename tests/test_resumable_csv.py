import csv
import errno
import fcntl
import io
import os
from pathlib import Path
from typing import Literal

import pytest

from service.commands.resumable_csv import ResumableCsv
from service.csv_text import csv_text as text
from service.errors import BadInput
from tests.disks import room_for

COLUMNS = ("name", "value")
ENTRIES = {
    "a": [("a", 1)],
    "b, c": [("b, c", 1), ("b, c", 2)],
    'd"\nd': [('d"\nd', 1)],
    "e\re": [("e\re", 1)],
}
WHOLE = text([COLUMNS, *(row for rows in ENTRIES.values() for row in rows)])


def completed(path: Path) -> str:
    """The content of the file once all missing entries are written."""
    table = ResumableCsv(path, COLUMNS)
    for name, rows in ENTRIES.items():
        if name not in table.done:
            table.write(text(rows))
    table.close()
    return path.read_bytes().decode()


UNSEEN = WHOLE.index('"b, c",2')
"""Cut here, the file ends after a whole line, so the missing one cannot be detected."""


@pytest.mark.parametrize("cut", [at for at in range(len(WHOLE) + 1) if at != UNSEEN])
def test_a_file_truncated_anywhere_is_completed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(WHOLE[:cut].encode())
    assert completed(path) == WHOLE


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_file_that_a_spreadsheet_has_saved_is_completed(
    tmp_path: Path, quoting: Literal[0, 1], encoding: str, line_end: str
) -> None:
    path = tmp_path / "out.csv"
    rows = [COLUMNS, *ENTRIES["a"], *ENTRIES["b, c"]]
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, quoting=quoting, lineterminator=line_end).writerows(rows)
    assert completed(path) == WHOLE


def test_a_file_that_a_spreadsheet_has_saved_survives_a_full_disk(tmp_path: Path) -> None:
    path, content = tmp_path / "out.csv", b"\xef\xbb\xbf" + WHOLE.encode()
    path.write_bytes(content)
    with room_for(len(WHOLE) // 2), pytest.raises(OSError, match=r"File too large.*out\.csv"):
        ResumableCsv(path, COLUMNS)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == {path: content}


def test_an_empty_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(WHOLE.encode() + b"\r\n")
    table = ResumableCsv(path, COLUMNS)
    assert table.done == ENTRIES.keys()
    table.close()


@pytest.mark.parametrize("content", [b"other,columns\n", b"\xef\xbb\xbfname;value\r\na;1\r\n"])
def test_a_file_with_other_columns_is_rejected_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="choose another name"):
        ResumableCsv(path, COLUMNS)
    assert path.read_bytes() == content


def test_a_file_in_use_by_another_run_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    first = ResumableCsv(path, COLUMNS)
    with pytest.raises(BadInput, match="another run"):
        ResumableCsv(path, COLUMNS)
    first.close()
    ResumableCsv(path, COLUMNS).close()


def test_a_file_that_another_run_removes_while_it_is_opened_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    first, flock = ResumableCsv(path, COLUMNS), fcntl.flock

    def lock_once_the_first_run_has_ended(file: int, how: int) -> None:
        first.close()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", lock_once_the_first_run_has_ended)
    with pytest.raises(BadInput, match="another run"):
        ResumableCsv(path, COLUMNS)
    assert list(tmp_path.iterdir()) == []


def test_a_csv_reader_gets_the_names_back_unchanged() -> None:
    names = [row[0] for row in csv.reader(io.StringIO(WHOLE, newline=""))][1:]
    assert list(dict.fromkeys(names)) == list(ENTRIES)


def test_a_table_without_entries_leaves_no_file(tmp_path: Path) -> None:
    path, link = tmp_path / "out.csv", tmp_path / "link.csv"
    link.symlink_to(path)
    ResumableCsv(link, COLUMNS).close()
    assert list(tmp_path.iterdir()) == [link]
    path.write_text(WHOLE)
    ResumableCsv(path, COLUMNS).close()
    assert path.read_bytes() == WHOLE.encode()


def test_a_pipe_is_rejected_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    os.mkfifo(path)
    with pytest.raises(BadInput, match="not a file"):
        ResumableCsv(path, COLUMNS)
    assert path.is_fifo()


def test_an_unparsable_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_bytes(text([COLUMNS]).encode() + b'"' + b"x" * 200_000)
    with pytest.raises(BadInput, match="damaged"):
        ResumableCsv(path, COLUMNS)


@pytest.mark.parametrize("room", [0, 3])
def test_an_entry_that_does_not_fit_on_disk_is_removed(
    tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    table = ResumableCsv(path, COLUMNS)
    table.write("a,1\n")
    write = os.write

    def write_to_full_disk(file: int, data: bytes) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:room])

    monkeypatch.setattr(os, "write", write_to_full_disk)
    with pytest.raises(OSError, match=r"No space.*out\.csv"):
        table.write("b,1\nb,2\n")
    table.close()
    assert path.read_text() == "name,value\na,1\n"
