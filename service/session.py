"""The core's side of its connection to one front."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from service import core_codec
from service.core import Core, Kind
from service.lanes import Lane
from service.wire import Message


class Session:
    """Answers the calls that a front's `service.remote_core.RemoteCore` makes.

    Attributes:
        started: set when the front accepts connections.
        fault: why it could not start, if it has said so.
    """

    def __init__(
        self,
        core: Core,
        healthy: Callable[[], Awaitable[bool]],
        render_metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        """Hold nothing yet.

        Args:
            core: what the front uses.
            healthy: whether the whole service is.
            render_metrics: returns the metrics of all processes.
        """
        self.started = asyncio.Event()
        self.fault: str | None = None
        self._core = core
        self._lanes: dict[str, Lane[Any, Any, Any]] = {lane.name: lane for lane in core.lanes}
        self._healthy = healthy
        self._render_metrics = render_metrics
        self._held: dict[int, AsyncExitStack] = {}

    async def answer(self, message: Message) -> Message:
        """Answer a call.

        Raises:
            ServiceError: whatever the core raises.
        """
        header = message.header
        match header["op"]:
            case "submit":
                return await self._submit(message)
            case "check":
                lane = self._lanes[header["lane"]]
                await self._core.check(lane, header["items"], header["deadline"])
            case "take_token":
                await self._core.take_token(header["key"])
            case "hold":
                await self._hold(header["kind"], header["token"])
            case "release":
                await self._release(header["token"])
            case "state":
                return Message({"up": await self._core.up(), "healthy": await self._healthy()})
            case "metrics":
                return Message({}, await self._render_metrics())
            case "started":
                self.started.set()
            case "failed":
                self.fault = header["words"]
            case unknown:
                raise ValueError(f"no operation {unknown!r}")
        return Message({})

    async def close(self) -> None:
        """Release what the front still holds, as it has gone."""
        for token in [*self._held]:
            await self._release(token)

    async def _hold(self, kind: Kind, token: int) -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._core.reserve(kind))
            self._held[token] = stack.pop_all()

    async def _release(self, token: int) -> None:
        if held := self._held.pop(token, None):
            await held.aclose()

    async def _submit(self, message: Message) -> Message:
        header = message.header
        lane = self._lanes[header["lane"]]
        items = core_codec.decode_request(message)
        answers = await self._core.submit(
            lane, items, deadline=header["deadline"], wait=header["wait"]
        )
        return core_codec.encode_response(lane.name, answers)
