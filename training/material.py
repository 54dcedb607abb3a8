"""What to export, and what the export is made from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from training import origin
from training.artefact import score
from training.averaging import averaged
from training.calibrate import fit_offsets
from training.data import FaceSet, Split, check_names, check_unseen, digests, read, split
from training.errors import RunError
from training.evening import evened
from training.network import GiMeFive, with_folded_norms, with_offsets
from training.recipe import Recipe

NAME = "gimefive"


@dataclass(frozen=True)
class Order:
    """What to export.

    Attributes:
        run: folder of a finished run, or of a version to get new offsets, calibration and results.
        averaged: folders of the same kinds, averaged in as far as the validation faces gain.
        data: the data sets it was trained on.
        evened: by name of such a data set, how far to even out its frequencies; see `evened`.
        unseen: data sets it was not trained on, to be evaluated in full.
        store: the model store.
        version: the number of the new version.
    """

    run: Path
    averaged: tuple[Path, ...]
    data: tuple[Path, ...]
    evened: dict[str, float]
    unseen: tuple[Path, ...]
    store: Path
    version: int

    @property
    def destination(self) -> Path:
        """The version's folder."""
        return self.store / NAME / str(self.version)

    @property
    def command(self) -> str:
        """The command line of this export, with the data sets' file names only."""
        words = ["python -m training export", str(self.run), *(path.name for path in self.data)]
        words += [f"--averaged-with {folder}" for folder in self.averaged]
        words += [f"--evened {name}={share}" for name, share in self.evened.items()]
        words += [f"--unseen {path.name}" for path in self.unseen]
        return " ".join([*words, f"--version {self.version}"])


@dataclass(frozen=True)
class Material:
    """What an export is made from.

    Attributes:
        network: with the weights of the run, or their mean with others', norms folded, `offsets`
            added to its logits and data sets evened out, in evaluation mode. How far versions that
            it is made from were evened out is taken back first, or the offsets would undo it for
            all faces.
        shares: the share of each folder's weights.
        offsets: one per emotion, fitted on the validation faces.
        recipes: of the runs that led here, earliest first.
        history: of these runs, with images counted across them.
        splits: the run's data sets, split as the run split them.
        unseen: the data sets it was not trained on.
    """

    network: GiMeFive
    shares: dict[str, float]
    offsets: tuple[float, ...]
    recipes: tuple[Recipe, ...]
    history: list[dict[str, float]]
    splits: tuple[Split, ...]
    unseen: tuple[FaceSet, ...]

    @classmethod
    def read(cls, order: Order) -> Self:
        """Read the run's folder and all data sets.

        Raises:
            DataError: a data set cannot be read, two have the same name, an unseen one contains
                faces of another, or there is none to even out.
            RunError: a run is missing or unfinished, was trained on other data, or split the data
                differently, so that one was trained on what another held out.
        """
        folders = (order.run, *order.averaged)
        if len({folder.resolve() for folder in folders}) < len(folders):
            raise RunError(f"the same folder is given twice: {', '.join(map(str, folders))}")
        try:
            recipes, history = origin.lineage(order.run)
            seeds = {recipe.seed for f in folders for recipe in origin.lineage(f)[0]}
            trained_on = {folder: origin.learned(folder) for folder in folders}
            networks = [with_folded_norms(origin.gimefive(str(f)).eval()) for f in folders]
        except FileNotFoundError as error:
            raise RunError(f"{error.filename} is missing: is the run finished?") from error
        if len(seeds) > 1:
            raise RunError(f"these runs split the data by different seeds: {sorted(seeds)}")
        splits = tuple(split(read(path), recipes[-1].seed) for path in order.data)
        own = digests([s.train for s in splits], [s.validation for s in splits])
        for folder, known in trained_on.items():
            if known["train"] and json.dumps(known) != json.dumps(own):
                raise RunError(
                    f"{folder} was trained on other data: "
                    "give the same sets, unchanged and in its order"
                )
        unseen = tuple(read(path) for path in order.unseen)
        check_names([s.train.name for s in splits] + [faces.name for faces in unseen])
        check_unseen(unseen, splits)
        train = [s.train for s in splits]
        networks = [
            evened(network, train, {name: -share for name, share in origin.evened_out(f).items()})
            for network, f in zip(networks, folders, strict=True)
        ]
        network, shares = averaged(networks, [s.validation for s in splits])
        offsets = fit_offsets([score(network, s.validation) for s in splits])
        network = evened(with_offsets(network, offsets), train, order.evened)
        named = {str(f): share for f, share in zip(folders, shares, strict=True)}
        return cls(network, named, offsets, recipes, history, splits, unseen)
