import asyncio

import pytest

from service.mailbox import Letter, Mailbox

pytestmark = pytest.mark.anyio


async def test_the_newest_item_is_taken_and_dropped_ones_are_counted() -> None:
    times = iter((0.0, 1.0, 2.0, 3.0))
    mailbox: Mailbox[str] = Mailbox(lambda: next(times))
    mailbox.put("a")
    assert await mailbox.take() == Letter(0, 0, 0.0, "a")
    for content in "bcd":
        mailbox.put(content)
    assert await mailbox.take() == Letter(3, 2, 3.0, "d")


async def test_take_waits_for_an_item() -> None:
    mailbox: Mailbox[str] = Mailbox()
    waiting = asyncio.create_task(mailbox.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    mailbox.put("a")
    assert (await waiting).content == "a"
