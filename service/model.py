"""The TorchScript model: choosing its device and precision, loading it, scoring, explaining."""

import io
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from service.errors import StoreError
from service.explanation import LAYERS, Explanation, Question
from service.gradcam import explain
from service.records import FACE_SIZE, ModelInfo, Scores
from service.staging import OnCuda, on_cpu
from service.store import ModelCard, StoredModel, read_verified

LARGEST = {"cpu": 32, "cuda": 256}
"""Most faces in a batch, by kind of device: larger ones do not pay, or take too long."""


@dataclass(frozen=True)
class Placement:
    """Where a model runs, in which precision, and why.

    Attributes:
        device: ``cpu`` or ``cuda:N``.
        precision: ``fp32``, ``int8`` or ``fp16``.
        reason: one sentence for the log and for /models.
    """

    device: str
    precision: str
    reason: str

    @property
    def artefact(self) -> str:
        """The precision of the file to load: fp16 is converted from fp32."""
        return "fp32" if self.precision == "fp16" else self.precision


def choose_device(card: ModelCard, device: str, precision: str) -> Placement:
    """Decide device and precision; ``auto`` goes by the card and by what torch finds here.

    Raises:
        StoreError: what is asked for is not possible here; the message says what is.
    """
    found = _device(device)
    kind = found.partition(":")[0]
    if precision == "auto":
        precision, reason = _best(card, kind)
    else:
        reason = "chosen by GIMEFIVE_PRECISION"
    placement = Placement(found, precision, reason)
    if precision == "int8" and kind != "cpu":
        raise StoreError("int8 runs on the CPU only: use GIMEFIVE_PRECISION=fp16 or fp32 on CUDA")
    if precision == "fp16" and kind == "cpu":
        raise StoreError("fp16 runs on CUDA only: use GIMEFIVE_PRECISION=int8 or fp32 on the CPU")
    if placement.artefact not in card.precisions:
        known = ", ".join(card.precisions)
        raise StoreError(f"{card.name} {card.version} has no {precision} artefact, only {known}")
    return placement


class Model:
    """A loaded model. Not thread-safe.

    Explanations come from the fp32 network, whatever precision serves scores: gradients need it,
    and so a map and the score beside it come from one pass of one network.
    """

    def __init__(self, stored: StoredModel, placement: Placement) -> None:
        """Verify the artefacts and load them onto the device.

        Raises:
            StoreError: a file is missing or altered, or torch cannot load it.
        """
        self._device = torch.device(placement.device)
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(self._device)  # graphs are captured on the current one
        artefact = stored.card.precisions[placement.artefact]
        self._calibration = artefact.calibration
        self._network = _tune(_load(stored, placement.artefact, self._device), placement)
        self._run = OnCuda(self._compute, self._device) if on_gpu else on_cpu(self._compute)
        self._split_network = _SplitNetwork(
            _load(stored, "fp32", self._device).float(), placement.device
        )
        self.info = ModelInfo(
            name=stored.card.name,
            version=stored.card.version,
            precision=placement.precision,
            device=placement.device,
            sha256=artefact.sha256,
            reason=placement.reason,
            max_batch=LARGEST[self._device.type],
        )

    @torch.inference_mode()
    def scores(self, faces: NDArray[np.uint8]) -> Scores:
        """Calibrated probabilities, float32 ``[N, 6]``, of grey faces, uint8 ``[N, 64, 64]``."""
        return self._calibration.scores(self._run(faces))

    def _compute(self, faces: Tensor) -> Tensor:
        logits: Tensor = self._network(faces).float()
        return logits

    def explain(
        self, faces: NDArray[np.uint8], questions: Sequence[Question]
    ) -> tuple[Explanation, ...]:
        """Explain grey faces, uint8 ``[N, 64, 64]``, each as its question asks."""
        return explain(self._split_network, torch.from_numpy(faces).to(self._device), questions)

    def time(self, size: int) -> float:
        """Seconds that scoring `size` faces takes, the better of two runs.

        On the CPU this is CPU time, so that other processes do not matter.
        """
        faces = np.zeros((size, FACE_SIZE, FACE_SIZE), dtype=np.uint8)
        return min(self._time(faces) for _ in range(2))

    def warm_up_explaining(self) -> None:
        """Explain a few faces, so that no request pays for torch's slow first passes."""
        faces = np.zeros((2, FACE_SIZE, FACE_SIZE), dtype=np.uint8)
        for size in (1, 1, 2, 2):
            self.explain(faces[:size], [Question()] * size)

    def _time(self, faces: NDArray[np.uint8]) -> float:
        clock = time.process_time if self._device.type == "cpu" else time.perf_counter
        start = clock()
        self.scores(faces)
        return clock() - start


class _Last(nn.Module):
    """The network up to its last convolution."""

    def __init__(self, full: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.full = full

    def forward(self, faces: Tensor) -> Tensor:
        maps: Tensor = self.full.features(faces, len(LAYERS))
        return maps


class _SplitNetwork:
    """The fp32 network, split as explanations need it.

    Nearly all explanations are of the last convolution. No gradient is needed below it, so on the
    CPU that part is optimised for inference.
    """

    def __init__(self, full: torch.jit.ScriptModule, device: str) -> None:
        self._frozen: torch.jit.ScriptModule = torch.jit.freeze(full, ["features", "head"])
        self._last: Callable[[Tensor], Tensor] | None = None
        if device == "cpu":
            example = torch.zeros((2, FACE_SIZE, FACE_SIZE), dtype=torch.uint8)
            with torch.no_grad():
                last = torch.jit.trace(_Last(full).eval(), example, check_trace=False)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._last = torch.jit.optimize_for_inference(torch.jit.freeze(last))

    def features(self, faces: Tensor, layer: int, /) -> Tensor:
        """As `service.gradcam.Network` says."""
        if self._last is not None and layer == len(LAYERS):
            return self._last(faces)
        maps: Tensor = self._frozen.features(faces, layer)
        return maps

    def head(self, maps: Tensor, layer: int, /) -> Tensor:
        """As `service.gradcam.Network` says."""
        logits: Tensor = self._frozen.head(maps, layer)
        return logits


def _device(wish: str) -> str:
    if wish == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        if wish == "auto":
            return "cpu"
        raise StoreError(f"no CUDA device for GIMEFIVE_DEVICE={wish}: use cpu or auto")
    index = int(wish.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise StoreError(f"no device {wish} (CUDA devices found: {torch.cuda.device_count()})")
    return f"cuda:{index}"


def _best(card: ModelCard, kind: str) -> tuple[str, str]:
    precision = card.default_precision[kind]
    engine = card.precisions[precision].engine if precision in card.precisions else None
    if engine and engine not in torch.backends.quantized.supported_engines:
        return "fp32", f"{precision} needs torch's {engine} engine, which this CPU lacks"
    return precision, f"the model card's default for {kind}"


def _load(stored: StoredModel, precision: str, device: torch.device) -> torch.jit.ScriptModule:
    artefact = stored.card.precisions[precision]
    path = stored.folder / artefact.file
    data = read_verified(path, artefact.sha256)
    if artefact.engine:
        torch.backends.quantized.engine = artefact.engine
    with warnings.catch_warnings():
        # torch advises against TorchScript, which is what the service is asked to load.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        try:
            network: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]  # torch leaves it untyped
                io.BytesIO(data), map_location=device
            )
        except RuntimeError as error:
            raise StoreError(f"{path}: torch cannot load it: {error}") from error
    return network.eval()


def _tune(network: torch.jit.ScriptModule, placement: Placement) -> torch.jit.ScriptModule:
    """The module optimised for scoring; the int8 artefact already is."""
    if placement.precision == "int8":
        return network
    typed = network.half() if placement.precision == "fp16" else network.float()
    tuned: torch.jit.ScriptModule = torch.jit.freeze(typed)
    if placement.device == "cpu":
        tuned = torch.jit.optimize_for_inference(tuned)
    return tuned
