"""From the folder of a run to a version of the store: files, card, README and figures."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from training.artefact import digest, load, score, write_float, write_int8
from training.card import Card, Input, Precision, Source, write
from training.conditions import CONDITIONS, under
from training.data import FaceSet
from training.describe import describe
from training.errors import ExportError
from training.evidence import Evidence, Findings
from training.material import NAME, Material, Order
from training.network import EMOTIONS, INPUT_SIZE, GiMeFive
from training.quantise import ENGINE
from training.report import Share
from training.sources import licence

FILES = {"fp32": "model.fp32.pt", "int8": "model.int8.pt"}

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
    if order.destination.exists():
        raise ExportError(
            f"{order.destination} exists and versions never change: choose another --version, "
            "or delete the folder if nobody uses it yet"
        )
    say("reading the run and the data sets")
    material = Material.read(order)
    order.destination.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=order.destination.parent) as temporary:
        folder = Path(temporary) / str(order.version)
        folder.mkdir()
        say("writing the fp32 and int8 files")
        dtype = _write_files(material, folder)
        evidence = {}
        for precision, file in FILES.items():
            say(f"evaluating {file}")
            module = load(folder / file, _engine(precision))
            evidence[precision] = Evidence.gather(module, material.splits, material.unseen)
        findings = Findings.of(evidence)
        say("evaluating robustness")
        robustness = _robustness(
            load(folder / FILES[findings.default], _engine(findings.default)), material
        )
        precisions = _precisions(folder, findings, dtype)
        write(_card(order, material, findings, robustness, precisions), folder)
        describe(folder)
        folder.rename(order.destination)
    say(f"{order.destination}: {findings.default} is the default on CPUs; {findings.reason}")


def _write_files(material: Material, folder: Path) -> str:
    """Write both files; returns the dtype of the stored parameters of the fp32 file."""
    held_out = FaceSet.pool([s.held_out for s in material.splits])
    rng = np.random.default_rng(material.recipes[-1].seed)
    scaling = [s.train.take(rng.permutation(len(s.train))[:SCALE_FACES]) for s in material.splits]
    write_int8(material.network, folder / FILES["int8"], FaceSet.pool(scaling))
    return write_float(material.network, folder / FILES["fp32"], held_out)


def _engine(precision: str) -> str | None:
    return ENGINE if precision == "int8" else None


def _precisions(folder: Path, findings: Findings, dtype: str) -> dict[str, Precision]:
    entries = {}
    for precision, file in FILES.items():
        entries[precision] = Precision(
            file=file,
            sha256=digest(folder / file),
            bytes=(folder / file).stat().st_size,
            temperature=findings.temperatures[precision],
            parameters=dtype if precision == "fp32" else "int8",
            agreement=findings.agreement[precision],
        )
    entries["int8"]["engine"] = ENGINE
    return entries


def _robustness(network: nn.Module, material: Material) -> dict[str, dict[str, Share]]:
    """Accuracy on held-out faces by condition and data set."""
    return {
        condition: {
            s.held_out.name: score(network, under(condition, s.held_out)).share
            for s in material.splits
        }
        for condition in CONDITIONS
    }


def _card(
    order: Order,
    material: Material,
    findings: Findings,
    robustness: dict[str, dict[str, Share]],
    precisions: dict[str, Precision],
) -> Card:
    network = material.network
    card = Card(
        name=NAME,
        version=str(order.version),
        labels=list(EMOTIONS),
        input=Input(shape=["N", INPUT_SIZE, INPUT_SIZE], dtype="uint8", colour="grey"),
        layers=_layers(network),
        parameters=sum(p.numel() for p in network.parameters()),
        offsets=dict(zip(EMOTIONS, material.offsets, strict=True)),
        calibrated_on="held_out",
        threshold=findings.threshold,
        precisions=precisions,
        default_precision={"cpu": findings.default, "cuda": "fp16"},
        default_reason={
            "cpu": findings.reason,
            "cuda": "fp16 is the fp32 file in half precision, with the same temperature",
        },
        data=_sources(order, material),
        metrics=findings.metrics,
        robustness=robustness,
        recipes=[asdict(recipe) for recipe in material.recipes],
        history=material.history,
        command=order.command,
        commit=_commit(),
        torch=torch.__version__,
    )
    if len(material.shares) > 1:
        card["averaged"] = material.shares
    return card


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


def _commit() -> str | None:
    """The commit of the code, with ``-dirty`` if files differ from it."""
    git = shutil.which("git")
    if git is None:
        return None
    words = [git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    answer = subprocess.run(  # noqa: S603  # the command is fixed
        words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None
