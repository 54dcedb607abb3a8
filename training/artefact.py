"""The TorchScript files of a version: written, checked against the network, and loaded."""

from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import nn

from training.data import FaceSet
from training.errors import ExportError
from training.network import GiMeFive, logits_of
from training.quantise import ENGINE, quantise, without_deprecations
from training.report import Scored

SCRIPT_BOUND = 1e-4
"""The largest allowed difference between logits that should be equal."""

HALF_BOUND = 0.05
"""The same for parameters in half precision; it moves no score by more than 0.025."""

HALF_LOSS = 0.0005
"""The accuracy that storing them in half precision may cost: half of the tables' last digit."""

WRITTEN_ANYWAY = ("version", "byteorder", ".data/serialization_id")
"""Records that every TorchScript file ends with."""


def score(network: nn.Module, faces: FaceSet, evened: float = 0.0) -> Scored:
    """The logits of a network, or of a loaded file, for a data set that is evened out so far."""
    logits = logits_of(network, torch.from_numpy(faces.faces))
    return Scored(logits.double().numpy(), faces.labels, evened)


def score_with_mirror_images(network: nn.Module, faces: FaceSet) -> Scored:
    """The mean of the logits for each face and for its mirror image."""
    mirrored = replace(faces, faces=np.ascontiguousarray(faces.faces[:, :, ::-1]))
    return Scored(
        (score(network, faces).logits + score(network, mirrored).logits) / 2, faces.labels
    )


def load(path: Path, engine: str | None = None) -> torch.jit.ScriptModule:
    """Load a file on the CPU in float32; `engine` is torch's quantized engine for an 8-bit file."""
    if engine:
        torch.backends.quantized.engine = engine
    with without_deprecations():
        module: torch.jit.ScriptModule = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return module.float()


def verify(path: Path, sha256: str) -> None:
    """Make sure that a file is as its card says.

    Raises:
        ExportError: it was altered.
    """
    if digest(path) != sha256:
        raise ExportError(f"{path} was altered: its SHA-256 is not that of the card")


def digest(path: Path) -> str:
    """The SHA-256 of a file as a hexadecimal string."""
    return sha256(path.read_bytes()).hexdigest()


def write_float(network: GiMeFive, path: Path, faces: FaceSet) -> str:
    """Write the network as a script, in half precision if that changes nothing relevant.

    The script is not frozen: it keeps `normalise`, `features` and `head`, and its parameters keep
    their names.

    Args:
        network: float32, in evaluation mode.
        path: of the file.
        faces: faces on which the logits of file and network are compared.

    Returns:
        The dtype of the stored parameters, ``float16`` or ``float32``.

    Raises:
        ExportError: the script's logits are not those of the network.
    """
    exact = score(network, faces)
    _write(torch.jit.script(network), path)
    some = faces.take(np.arange(min(len(faces), 256)))
    difference = _max_difference(score(load(path), some), exact)
    if not difference <= SCRIPT_BOUND:
        raise ExportError(f"the script's logits are off by {difference:.2g}")
    half = path.with_suffix(".half")
    _write(torch.jit.script(deepcopy(network).half()), half)
    stored = score(load(half), faces)
    if (
        _max_difference(stored, exact) <= HALF_BOUND
        and exact.accuracy - stored.accuracy <= HALF_LOSS
    ):
        half.replace(path)
        return "float16"
    half.unlink()
    return "float32"


def write_int8(network: GiMeFive, path: Path, faces: FaceSet) -> None:
    """Write the network in 8-bit integers; `faces` are the calibration images for its scales.

    Raises:
        ExportError: the logits of a face depend on the batch size.
    """
    module = quantise(network, torch.from_numpy(faces.faces))
    _write(module, path)
    written, some = load(path, ENGINE), torch.from_numpy(faces.faces[:64])
    together = logits_of(written, some)
    for batch in (1, 7):
        apart = float((logits_of(written, some, batch=batch) - together).abs().max())
        if not apart <= SCRIPT_BOUND:
            raise ExportError(f"in batches of {batch} 8-bit logits are off by {apart:.2g}")


def _write(module: torch.jit.ScriptModule, path: Path) -> None:
    """Write a module without its debug records, which name the source files of this machine."""
    with BytesIO() as complete:
        torch.jit.save(module, complete)
        complete.seek(0)
        records = torch._C.PyTorchFileReader(complete)  # nothing public copies records
        writer = torch._C.PyTorchFileWriter(str(path))
        for name in records.get_all_records():
            if not name.endswith(".debug_pkl") and name not in WRITTEN_ANYWAY:
                record = records.get_record(name)
                writer.write_record(name, record, len(record))
        writer.write_end_of_file()


def _max_difference(some: Scored, exact: Scored) -> float:
    return float(np.abs(some.logits - exact.logits[: len(some.logits)]).max())
