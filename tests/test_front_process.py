"""A front that cannot be made, by its keeper; what fronts do stands in `test_fronts`."""

import sys

import pytest

from service.errors import ServiceError
from service.front_process import FrontProcess
from service.session import Session
from service.wire import Message

pytestmark = pytest.mark.anyio


def nobody() -> Session:
    pytest.fail("no front asks")


async def test_a_first_front_that_cannot_be_made_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = FrontProcess([], Message({}), nobody, lambda: pytest.fail("none was there to be lost"))
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    with pytest.raises(ServiceError, match="could not be made"):
        await front.keep()
