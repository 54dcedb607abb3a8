"""The core, as a front in another process reaches it."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

from service import core_codec
from service.core import Kind
from service.errors import NotReady, Overloaded
from service.lanes import Answer, ItemT, Lane, ResultT
from service.metrics import Metrics
from service.model_lanes import lanes_for
from service.records import ModelInfo
from service.remote import RemoteModel
from service.rpc import RpcConnection
from service.settings import Settings
from service.tracer import Tracer


class RemoteCore:
    """Stands for the `service.core.Core` in the supervisor's process; `Session` answers it there.

    Attributes:
        info: the model in use.
        metrics: what is counted in this process.
        lanes: those of the batcher.
    """

    def __init__(
        self, connection: RpcConnection, settings: Settings, info: ModelInfo, tracer: Tracer
    ) -> None:
        self.info = info
        self.metrics = Metrics(info, [])
        self.lanes = lanes_for(info.max_batch, settings.queue_items, settings.queue_seconds)
        self._connection = connection
        self._tracer = tracer
        self._tokens = count()
        self._refused: set[str] = set()
        self._limited = settings.rate_limit is not None

    async def submit(
        self,
        lane: Lane[RemoteModel, ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        deadline: float | None = None,
        wait: bool = False,
    ) -> list[Answer[ResultT]]:
        """Ask the model, as `Batcher.submit` says; all processes share the monotonic clock."""
        if not items:
            return []
        request = core_codec.encode_request(lane.name, items, deadline=deadline, wait=wait)
        sent = time.monotonic()
        try:
            answer = await self._connection.call({**request.header, "op": "submit"}, request.body)
        except (Overloaded, NotReady):
            self._refused.add(lane.name)
            raise
        answers = core_codec.decode_response(lane.name, items, answer)
        last = max(answers, key=lambda each: each.queue)
        begun = sent + last.queue  # nearly: the time on the way is left out
        self._tracer.span("queue", sent, begun)
        self._tracer.span("inference", begun, begun + last.seconds)
        return answers

    async def check(
        self, lane: Lane[RemoteModel, ItemT, ResultT], items: int, deadline: float | None = None
    ) -> None:
        """As `Batcher.check`; asks the core only if it refused the lane's last request."""
        if lane.name in self._refused:
            header = {"op": "check", "lane": lane.name, "items": items, "deadline": deadline}
            await self._connection.call(header)
            self._refused.discard(lane.name)

    async def up(self) -> bool:
        """Whether the model can be asked now."""
        return bool((await self._connection.call({"op": "state"})).header["up"])

    async def healthy(self) -> bool:
        """False once a process cannot be restarted: only restarting the service can help."""
        return bool((await self._connection.call({"op": "state"})).header["healthy"])

    @asynccontextmanager
    async def reserve(self, kind: Kind) -> AsyncIterator[None]:
        """As `Core.reserve`."""
        token = next(self._tokens)
        try:
            await self._connection.call({"op": "hold", "kind": kind, "token": token})
            yield
        finally:
            self._connection.notify({"op": "release", "token": token})

    async def take_token(self, key: str) -> None:
        """As `Core.take_token`."""
        if self._limited:
            await self._connection.call({"op": "take_token", "key": key})

    async def render_metrics(self) -> bytes:
        """All metrics of all processes in Prometheus' text format."""
        return (await self._connection.call({"op": "metrics"})).body

    async def close(self) -> None:
        """Ask nothing more; pending calls fail."""
        self._connection.close()
