import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest
from fastapi.testclient import TestClient

from tests.waiting import LIMIT

pytest.register_assert_rewrite("tests.api", "tests.cameras", "tests.servers")

from tests.api import serving  # noqa: E402  # after its asserts are registered for rewriting

# Background jobs of a shell ignore Ctrl-C, and child processes would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine a model process takes minutes to start; all that tests start inherits this.
os.environ.setdefault("GIMEFIVE_START_TIMEOUT", f"{LIMIT:g}")

hypothesis.settings.register_profile("unhurried", deadline=None)  # busy machines are slow
hypothesis.settings.load_profile("unhurried")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """The API over a fake model that never fails."""
    with serving() as client:
        yield client
