"""FastAPI without batching: a model in each of uvicorn's workers, one worker per core.

Tuned as in FastAPI's deployment guide: as many workers as cores, and the endpoint is a plain
function, so that it runs in a thread and does not block the event loop.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, Request

from benchmarks.peers.network import PORT, WORKERS, Network, face


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Network]]:
    """Load the model with the worker."""
    yield {"network": Network()}


app = FastAPI(lifespan=lifespan)


@app.post("/classify")
def classify(
    request: Request, data: Annotated[bytes, Body(media_type="image/jpeg")]
) -> dict[str, Any]:
    """Classify one crop."""
    (found,) = request.state.network.answers([face(data)])
    return dict(found)


if __name__ == "__main__":
    uvicorn.run(
        "benchmarks.peers.plain_fastapi:app",
        port=PORT,
        workers=WORKERS,
        access_log=False,
        timeout_worker_healthcheck=60,  # loading torch on a busy machine takes a while
    )
