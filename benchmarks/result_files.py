"""The results of benchmarks: JSON files in benchmarks/results."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import typer

from benchmarks.pictures import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def load(name: str) -> dict[str, Any]:
    """The content of a result file, empty if there is none."""
    path = RESULTS / name
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def save(result: dict[str, Any], path: Path) -> None:
    """Write a result as JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def save_and_print(result: dict[str, Any], path: Path) -> None:
    """Write a result as JSON, and print it."""
    save(result, path)
    typer.echo(path.read_text())


def machine() -> dict[str, Any]:
    """The number of cores, the CPU and the Python version."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
