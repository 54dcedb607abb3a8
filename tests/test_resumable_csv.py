from pathlib import Path

import pytest

from service.commands.resumable_csv import ResumableCsv, text
from service.errors import BadInput

COLUMNS = ("name", "value")
WHOLE = text([COLUMNS, ("a", 1), ("b, c", 1), ("b, c", 2)])


def filled(path: Path) -> str:
    """What is there once all that lacks has been added."""
    table = ResumableCsv(path, COLUMNS)
    for name, rows in (("a", [("a", 1)]), ("b, c", [("b, c", 1), ("b, c", 2)])):
        if name not in table.done:
            table.write(text(rows))
    table.close()
    return path.read_text()


UNSEEN = WHOLE.index('"b, c",2')
"""Cut exactly here, the file ends with a whole line, and nobody can tell that one is missing."""


@pytest.mark.parametrize("cut", [at for at in range(len(WHOLE) + 1) if at != UNSEEN])
def test_wherever_a_file_was_cut_short_it_is_completed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "out.csv"
    path.write_text(WHOLE[:cut])
    assert filled(path) == WHOLE


def test_an_empty_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text(WHOLE + "\r\n")
    assert ResumableCsv(path, COLUMNS).done == {"a", "b, c"}


def test_a_file_of_another_kind_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("other,columns\n")
    with pytest.raises(BadInput, match="choose another name"):
        ResumableCsv(path, COLUMNS)
    assert path.read_text() == "other,columns\n"
