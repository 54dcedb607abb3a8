"""A version of the store, made once from noise by the command line, for all that looks at one."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.training.generated import lively_network, noise_faces, write_folder, write_zip
from training import run
from training.__main__ import app
from training.data import split
from training.feed import Data
from training.network import GiMeFive, with_offsets
from training.recipe import Recipe
from training.train import KEEP_MEMORY

HISTORY = [
    {
        "images": 100 * (i + 1),
        "pixels": 32 if i < 3 else 64,
        "learning_rate": 0.001,
        "train_loss": 1.75 - i / 8,
        "validation_loss": 1.5 - i / 8,
        "validation_accuracy": 0.25 + i / 8,
    }
    for i in range(5)
]


@dataclass(frozen=True)
class Exported:
    """What was exported, from what, and what the command said."""

    folder: Path
    run: Path
    data: tuple[Path, Path]
    unseen: Path
    output: str

    @property
    def words(self) -> list[str]:
        """The export's command line but for ``--store``."""
        data = [str(path) for path in self.data]
        return ["export", str(self.run), *data, "--unseen", str(self.unseen), "--version", "7"]

    def network(self) -> GiMeFive:
        """What the files are to answer like: the run's network, with the offsets of the card."""
        offsets = json.loads((self.folder / "card.json").read_text())["offsets"]
        return with_offsets(lively_network(), list(offsets.values()))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    place = tmp_path_factory.mktemp("exported")
    run = place / "run"
    start = str(place / "first")
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
    data = write_zip(sets[0], place), write_folder(sets[1], place)
    cut = [split(faces, 5) for faces in sets]
    for folder, recipe in ((place / "first", Recipe(images=500, seed=5)), (run, started)):
        folder.mkdir()
        torch.save(lively_network().state_dict(), folder / "weights.pt")
        (folder / "recipe.json").write_text(recipe.to_json())
        (folder / "history.json").write_text(json.dumps(HISTORY))
        learned = Data.of([s.train for s in cut], [s.validation for s in cut], recipe.turns)
        (folder / "data.json").write_text(json.dumps(learned.digests))
    unseen = write_zip(noise_faces("elsewhere", each=2, seed=2), place)
    made = Exported(place / "store" / "gimefive" / "7", run, data, unseen, output="")
    words = [*made.words, "--store", str(place / "store")]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    return Exported(made.folder, run, data, unseen, result.output)


@pytest.fixture(autouse=True, scope="module")
def _engine() -> Iterator[None]:
    """Whatever engine a module's tests choose for 8 bits is gone after them."""
    engine = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = engine


@pytest.fixture(autouse=True)
def _few_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms of a version are measured on fewer faces, which are no better here."""
    monkeypatch.setattr(run, "NORM_FACES", 24)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run sets for its processes is gone after the test."""
    for name in KEEP_MEMORY:
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
