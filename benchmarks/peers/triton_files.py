"""Triton's model repository and command line; it runs `triton_model`.

The server comes in the wheel of nvidia-pytriton. Its Python backend needs a stub
made for the Python in use, and the library of that Python.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from benchmarks.pictures import ROOT

CONFIG = """\
name: "gimefive"
backend: "python"
max_batch_size: {batch}
input [{{ name: "image" data_type: TYPE_STRING dims: [1] }}]
output [{{ name: "answer" data_type: TYPE_STRING dims: [1] }}]
instance_group [{{ count: {workers} kind: KIND_CPU }}]
dynamic_batching {{ }}
"""


def command(python: Path, port: int, folder: Path) -> list[str]:
    """Write its files into `folder`; returns the command that starts it."""
    model = folder / "models" / "gimefive"
    (model / "1").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("triton_model.py"), model / "1" / "model.py")
    cores = len(os.sched_getaffinity(0))
    (model / "config.pbtxt").write_text(CONFIG.format(batch=32, workers=cores))
    (packages,) = python.parent.parent.glob("lib/python3.*/site-packages")
    server = packages / "pytriton" / "tritonserver"
    backends = folder / "backends"
    shutil.copytree(server / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(
        server / "python_backend_stubs" / version / "triton_python_backend_stub",
        backends / "python",
    )
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{packages / 'nvidia_pytriton.libs'}"
    return [
        "env",
        f"LD_LIBRARY_PATH={libraries}",
        f"PYTHONPATH={ROOT}:{packages}",
        str(server / "bin" / "tritonserver"),
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={backends}",
        f"--http-port={port}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--log-error=true",
        "--log-info=false",
    ]
