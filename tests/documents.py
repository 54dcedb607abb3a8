"""Tables of the documentation."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def rows(heading: str) -> set[str]:
    """The first column of the table below a heading of docs/operations.md."""
    section = OPERATIONS.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`{]+)", section, re.MULTILINE))
