import signal
from collections.abc import Iterator

import hypothesis
import pytest
from fastapi.testclient import TestClient

pytest.register_assert_rewrite("tests.api", "tests.cameras", "tests.servers")

from tests.api import serving  # noqa: E402  # its asserts are rewritten as those of tests are

# A shell's background job ignores Ctrl-C, and so would every command that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine fails no test
hypothesis.settings.load_profile("unhurried")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """The API over a model that answers everything."""
    with serving() as client:
        yield client
