"""The service with a stub model that answers at once, to measure everything else.

``python -m benchmarks.stub_model serve`` is `gimefive serve` with the stub, configured by the same
environment variables; ``python -m benchmarks.stub_model model`` is the model process.
"""

import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict

import numpy as np

from service import codec, wire
from service.engine import Engine
from service.records import ModelInfo, WorkerConfig
from service.serve import serve
from service.settings import Settings
from service.tracer import UNTRACED, Tracer
from service.wire import Message

INFO = ModelInfo("gimefive", "1", "fp32", "cpu", "0" * 64, "it answers at once", max_batch=32)
ROW = np.array([0.95, 0.01, 0.01, 0.01, 0.01, 0.01], dtype=np.float32)


def model() -> None:
    """Answer every batch with the same scores."""
    answers = sys.stdout.buffer
    answers.write(Message({"ready": asdict(INFO)}).pack())
    answers.flush()
    while (request := wire.read(sys.stdin.buffer)) is not None:
        scores = np.tile(ROW, (len(codec.decode_faces(request)), 1))
        answers.write(Message({"seconds": 0.0}, scores.tobytes()).pack())
        answers.flush()


def command(_: WorkerConfig) -> tuple[str, ...]:
    """The command line of the model process."""
    return (sys.executable, "-m", "benchmarks.stub_model", "model")


def opened(settings: Settings, tracer: Tracer = UNTRACED) -> AbstractAsyncContextManager[Engine]:
    """The engine with the stub model."""
    return Engine.open(settings, command, tracer)


if __name__ == "__main__":
    if sys.argv[1] == "model":
        model()
    else:
        serve(Settings(), command)
