"""A stored version, exported once from noise by the command line and shared by all tests."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.training.generated import (
    noise_faces,
    random_network,
    write_folder,
    write_run,
    write_zip,
)
from training import run
from training.__main__ import app
from training.network import GiMeFive, with_offsets
from training.recipe import Recipe
from training.train import KEEP_MEMORY


@dataclass(frozen=True)
class Exported:
    """An exported version, what it was exported from, and the output of the command."""

    folder: Path
    run: Path
    data: tuple[Path, Path]
    unseen: Path
    output: str

    @property
    def arguments(self) -> list[str]:
        """The command line of the export, without ``--store``."""
        data = [str(path) for path in self.data]
        return ["export", str(self.run), *data, "--unseen", str(self.unseen), "--version", "7"]

    def network(self) -> GiMeFive:
        """The network that the files must reproduce: that of the run, with the card's offsets."""
        offsets = json.loads((self.folder / "card.json").read_text())["offsets"]
        return with_offsets(random_network(), list(offsets.values()))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    parent = tmp_path_factory.mktemp("exported")
    run = parent / "run"
    start = str(parent / "first")
    started = Recipe(
        images=300,
        seed=5,
        start=start,
        turns=(2, 1),
        after=2000,
        photographed=0.3,
        precision="bf16",
        mixup=0.2,
        dropout=0.0,
        linear_dropout=0.5,
    )
    sets = noise_faces("raf-noise", each=10), noise_faces("fer2013-noise", each=10, seed=1)
    data = write_zip(sets[0], parent), write_folder(sets[1], parent)
    write_run(parent / "first", sets, Recipe(images=500, seed=5))
    write_run(run, sets, started)
    unseen = write_zip(noise_faces("elsewhere", each=2, seed=2), parent)
    version = Exported(parent / "store" / "gimefive" / "7", run, data, unseen, output="")
    arguments = [*version.arguments, "--store", str(parent / "store")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return Exported(version.folder, run, data, unseen, result.output)


@pytest.fixture(autouse=True, scope="module")
def _restored_engine() -> Iterator[None]:
    """Restore the quantisation engine after the tests of a module."""
    engine = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = engine


@pytest.fixture(autouse=True)
def _few_norm_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate the norm statistics of a version on fewer faces, which is faster."""
    monkeypatch.setattr(run, "NORM_FACES", 24)


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the environment variables that a run sets for its processes."""
    for name in KEEP_MEMORY:
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
