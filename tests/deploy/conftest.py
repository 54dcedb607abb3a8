import shutil
import sys
from pathlib import Path

import pytest

from tests.deploy import engine

ROOT = Path(__file__).parent.parent.parent


def tool(name: str) -> str:
    """The path of a program, preferably of this environment; skips the test if it is missing."""
    found = shutil.which(str(Path(sys.executable).parent / name)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: .ci/run says what installs it")
    return found


@pytest.fixture(scope="session")
def image() -> str:
    """The CPU image, built from this checkout."""
    engine.docker("build", *engine.build_arguments(), "--tag", "gimefive:cpu", ".", timeout=3000)
    return "gimefive:cpu"
