"""A front that serves no requests and logs what it is told: ``python -m tests.quiet_front FOLDER``.

It holds a place for a video and reports one counter with the value five. It reports that it has
started once FOLDER/gate is unlocked, and exits at once if FOLDER/broken exists.
"""

import asyncio
import fcntl
import os
import socket
import sys
from pathlib import Path

from service import wire
from service.rpc import RpcConnection
from service.wire import Message

COUNTED = 5.0


async def main(folder: Path) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=0))
    await wire.receive(reader)

    def note(what: object) -> None:
        with (folder / "log").open("a") as log:
            print(what, file=log)

    def pass_gate() -> None:
        with (folder / "gate").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)

    async def answer(message: Message) -> Message:
        match message.header["op"]:
            case "samples":
                note("samples")
                return Message({"samples": [("things", "things_total", {}, COUNTED)]})
            case "stop":
                note("stop")
                connection.close()
            case told:
                note(told)
        return Message({})

    connection = RpcConnection(reader, writer, answer)
    running = asyncio.create_task(connection.run())
    await connection.call({"op": "hold", "kind": "video", "token": 1})
    note(os.getpid())
    await asyncio.to_thread(pass_gate)
    connection.notify({"op": "started"})
    await running


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if (place / "broken").exists():
        sys.exit(1)
    asyncio.run(main(place))
