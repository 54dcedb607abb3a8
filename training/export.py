"""From the folder of a run to a version of the store: files, card, README and figures."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from training.artefact import digest, write_float, write_int8
from training.assessment import assess
from training.card import Card, File, Input, Measured, Source, commit, write
from training.data import FaceSet
from training.describe import describe
from training.material import NAME, Material, Order
from training.network import EMOTIONS, INPUT_SIZE, GiMeFive
from training.quantise import ENGINE
from training.saving import check_new, new_folder
from training.sources import licence

SCALE_FACES = 256
"""Training faces of each data set that calibrate the scales of the 8-bit network."""


def export(order: Order, say: Callable[[str], None]) -> None:
    """Write a version into the store, completely or not at all; `say` reports progress.

    The files are evaluated as written, after loading them again.

    Raises:
        DataError: a data set cannot be read.
        RunError: the run is not finished.
        ExportError: the version exists, or a file's logits are not those of the network.
    """
    check_new(order.destination)
    say("reading the run and the data sets")
    material = Material.read(order)
    with new_folder(order.destination) as folder:
        say("writing the fp32 and int8 files")
        files = _write_files(material, folder)
        measured = assess(folder, files, material.splits, material.unseen, order.evened, say)
        write(_card(order, material, measured), folder)
        describe(folder)
    say(summary(order.destination, measured))


def summary(destination: Path, measured: Measured) -> str:
    """The default precision of a new version, and why."""
    default, reason = measured["default_precision"]["cpu"], measured["default_reason"]["cpu"]
    return f"{destination}: {default} is the default on CPUs; {reason}"


def _write_files(material: Material, folder: Path) -> dict[str, File]:
    """Write both files, and describe them."""
    held_out = FaceSet.pool([s.held_out for s in material.splits])
    rng = np.random.default_rng(material.recipes[-1].seed)
    scaling = [s.train.take(rng.permutation(len(s.train))[:SCALE_FACES]) for s in material.splits]
    fp32, int8 = folder / "model.fp32.pt", folder / "model.int8.pt"
    write_int8(material.network, int8, FaceSet.pool(scaling))
    dtype = write_float(material.network, fp32, held_out)
    files = {"fp32": _file(fp32, dtype), "int8": _file(int8, "int8")}
    files["int8"]["engine"] = ENGINE
    return files


def _file(path: Path, parameters: str) -> File:
    size = path.stat().st_size
    return File(file=path.name, sha256=digest(path), bytes=size, parameters=parameters)


def _card(order: Order, material: Material, measured: Measured) -> Card:
    network = material.network
    return Card(
        name=NAME,
        version=str(order.version),
        labels=list(EMOTIONS),
        input=Input(shape=["N", INPUT_SIZE, INPUT_SIZE], dtype="uint8", colour="grey"),
        layers=_layers(network),
        parameters=sum(p.numel() for p in network.parameters()),
        averaged=material.shares,
        **measured,
        offsets=dict(zip(EMOTIONS, material.offsets, strict=True)),
        evened=order.evened,
        data=_sources(order, material),
        recipes=[asdict(recipe) for recipe in material.recipes],
        history=material.history,
        command=order.command,
        commit=commit(),
        torch=torch.__version__,
    )


def _layers(network: GiMeFive) -> dict[str, list[int]]:
    """The shape of every convolution's output for one face."""
    face = torch.zeros(1, INPUT_SIZE, INPUT_SIZE, dtype=torch.uint8)
    with torch.inference_mode():
        shapes = [list(network.features(face, layer).shape[1:]) for layer in range(1, 6)]
    return {f"conv{layer}": shape for layer, shape in enumerate(shapes, start=1)}


def _sources(order: Order, material: Material) -> list[Source]:
    sources = []
    for path, split in zip(order.data, material.splits, strict=True):
        whole = FaceSet.pool(list(split.parts.values()))
        sizes = {name: len(faces) for name, faces in split.parts.items()}
        sources.append(_source(path.name, whole, sizes, split.digests()))
    for path, faces in zip(order.unseen, material.unseen, strict=True):
        sizes, digests = {"unseen": len(faces)}, {"unseen": faces.digest()}
        sources.append(_source(path.name, faces, sizes, digests))
    return sources


def _source(file: str, faces: FaceSet, parts: dict[str, int], digests: dict[str, str]) -> Source:
    counts = np.bincount(faces.labels, minlength=len(EMOTIONS)).tolist()
    return Source(
        name=faces.name,
        file=file,
        images=len(faces),
        classes=dict(zip(EMOTIONS, counts, strict=True)),
        parts=parts,
        sha256=digests,
        licence=licence(faces.name),
    )
