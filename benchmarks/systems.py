"""The systems to compare: this service and its peers, with installation, start and request."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks.peers import torchserve_files, triton_files
from benchmarks.pictures import ROOT, crop
from benchmarks.processes import Processes, answers, running
from benchmarks.wrk import Request

ENVIRONMENTS = ROOT / "benchmarks" / ".peers"
PICTURES = ("numpy>=2,<3", "opencv-python-headless>=5,<6", "pillow>=12,<14")
TORCH = "torch==2.13.0"

Command = Callable[[Path, int, Path], list[str]]
"""The command line, from the environment's Python, a port and a folder for files."""


@dataclass(frozen=True)
class System:
    """Something that classifies faces over HTTP.

    Attributes:
        name: the system's name in tables.
        request: classifies one crop.
        command: starts it on 127.0.0.1.
        requirements: packages of its environment besides torch; none for this service.
    """

    name: str
    request: Request
    command: Command
    requirements: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """The Python of its environment."""
        if not self.requirements:
            return Path(sys.executable)
        return ENVIRONMENTS / self.name / "bin" / "python"

    def install(self) -> None:
        """Create its environment if it is missing.

        Raises:
            subprocess.CalledProcessError: pip failed.
        """
        done = ENVIRONMENTS / self.name / ".done"
        if not self.requirements or done.exists():
            return
        pip = [str(self.python), "-m", "pip", "install", "--quiet"]
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENTS / self.name], check=True)
        subprocess.run([*pip, TORCH], check=True)
        subprocess.run([*pip, *self.requirements], check=True)
        done.touch()

    @contextmanager
    def serving(
        self, precision: str, port: int, patience: float = 120, **settings: object
    ) -> Iterator[tuple[Processes, float]]:
        """The system until the block ends, and the seconds from its start to its first answer.

        Args:
            precision: int8, fp32, or plain (fp32 without preparation); auto for this service.
            port: of the system, which may also use the next two.
            patience: the longest start, in seconds.
            settings: of this service.

        Raises:
            DidNotStartError: it did not start.
        """
        environment = {
            "PORT": str(port),
            "PRECISION": precision,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            "GIMEFIVE_PRECISION": "fp32" if precision == "plain" else precision,
            "GIMEFIVE_PORT": str(port),
            "GIMEFIVE_START_TIMEOUT": str(patience),
            **{f"GIMEFIVE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        url = f"http://127.0.0.1:{port}{self.request.path}"
        with TemporaryDirectory() as folder, httpx.Client(timeout=20) as client:
            command = self.command(self.python, port, Path(folder))
            log = ENVIRONMENTS / f"{self.name}.log"
            ENVIRONMENTS.mkdir(exist_ok=True)
            with running(
                command, environment, lambda: answers(client, url, self.request), log, patience
            ) as (processes, started):
                processes.settle()
                yield processes, started

    def emotion(self, port: int) -> str:
        """Its answer for the crop."""
        url = f"http://127.0.0.1:{port}{self.request.path}"
        headers = {"Content-Type": self.request.kind, **dict(self.request.headers)}
        response = httpx.post(url, content=self.request.body, headers=headers, timeout=30)
        return _emotion(response.raise_for_status().json())


def _emotion(document: dict[str, object]) -> str:
    match document:
        case {"faces": [{"emotion": str(emotion)}]} | {"emotion": str(emotion)}:
            return emotion
        case {"outputs": [{"data": [str(text)]}]}:
            return _emotion(json.loads(text))
    raise ValueError(f"no emotion in {document}")


def _module(name: str, *arguments: str) -> Command:
    def command(python: Path, port: int, _: Path) -> list[str]:
        filled = [argument.format(port=port) for argument in arguments]
        return [str(python), "-m", name, *filled]

    return command


def _bento(python: Path, port: int, _: Path) -> list[str]:
    service = "benchmarks.peers.with_bentoml:Classify"
    listen = ["--host", "127.0.0.1", "--port", str(port)]
    return [str(python), "-m", "bentoml", "serve", service, *listen]


def _triton_request(face: bytes) -> Request:
    """A request in Triton's binary format: a JSON header, then the length and the bytes."""
    tensor = struct.pack("<I", len(face)) + face
    parameters = {"binary_data_size": len(tensor)}
    image = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": parameters}
    head = json.dumps({"inputs": [image]}).encode()
    length = (("Inference-Header-Content-Length", str(len(head))),)
    path = "/v2/models/gimefive/infer"
    return Request(path, head + tensor, "application/octet-stream", length)


def with_stub_model() -> System:
    """This service with a stub model that answers at once."""
    request = Request("/classify?faces=whole", crop())
    return System("stub", request, _module("benchmarks.stub_model", "serve"))


def systems() -> dict[str, System]:
    """All systems by name, this service first."""
    face = crop()
    everything = (
        System("gimefive", Request("/classify?faces=whole", face), _module("service.cli", "serve")),
        System(
            "fastapi",
            Request("/classify", face),
            _module("benchmarks.peers.plain_fastapi"),
            (*PICTURES, "fastapi>=0.139,<1", "uvicorn[standard]>=0.40,<1"),
        ),
        System(
            "mosec",
            Request("/inference", face),
            _module("benchmarks.peers.with_mosec", "--address", "127.0.0.1", "--port", "{port}"),
            (*PICTURES, "mosec==0.9.8"),
        ),
        System(
            "litserve",
            Request("/predict", face),
            _module("benchmarks.peers.with_litserve"),
            (*PICTURES, "litserve==0.2.19"),
        ),
        System(
            "bentoml",
            Request.form("/classify", "image", [face]),
            _bento,
            (*PICTURES, "bentoml==1.4.39"),
        ),
        System(
            "ray", Request("/", face), _module("benchmarks.peers.with_ray"),
            (*PICTURES, "ray[serve]==2.60.0"),
        ),
        System(
            "torchserve",
            Request("/predictions/gimefive", face),
            torchserve_files.command,
            (*PICTURES, "torchserve==0.12.0", "torch-model-archiver", "pyyaml"),
        ),
        System(
            "triton",
            _triton_request(face),
            triton_files.command,
            ("numpy<2", "opencv-python-headless==4.11.0.86", "pillow>=12,<14",
             "nvidia-pytriton==0.7.0"),
        ),
    )  # fmt: skip
    return {system.name: system for system in everything}
