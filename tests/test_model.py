"""The embedded model as deployed, compared with the eager network and the paper's preprocessing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from service.errors import StoreError
from service.explanation import Question
from service.model import Model, Placement, choose_device
from service.settings import Settings
from service.store import Artefact, ModelCard, ModelStore, StoredModel
from training.network import GiMeFive

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


@pytest.fixture(scope="module")
def stored() -> StoredModel:
    return ModelStore(Settings().model_store).gimefive()


@pytest.fixture(scope="module")
def faces() -> NDArray[np.uint8]:
    """Crops of the portrait in examples/, at several places and sizes."""
    with Image.open(Path(__file__).parent.parent / "examples" / "eileen-collins.jpg") as portrait:
        grey = portrait.convert("L")
        boxes = [
            (x, y, x + side, y + side) for x in (120, 170) for y in (30, 60) for side in (90, 150)
        ]
        size = (64, 64)
        crops = [grey.crop(box).resize(size, Image.Resampling.BILINEAR) for box in boxes]
        return np.stack([np.asarray(crop) for crop in crops])


@pytest.fixture(scope="module")
def eager(stored: StoredModel) -> GiMeFive:
    """The network of the paper with the artefact's weights, without TorchScript."""
    artefact = torch.jit.load(stored.folder / "model.fp32.pt").float()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    network = GiMeFive()
    network.load_state_dict(artefact.state_dict())
    return network.eval()


def expected(eager: GiMeFive, faces: NDArray[np.uint8], artefact: Artefact) -> NDArray[np.float32]:
    with torch.inference_mode():
        logits = eager(torch.from_numpy(faces))
        spread = logits.std(dim=1, correction=0, keepdim=True)
        scaled = logits * spread**artefact.exponent / artefact.temperature
        scores: NDArray[np.float32] = torch.softmax(scaled, dim=1).numpy()
    return scores


def test_full_precision_scores_equal_the_eager_network(
    stored: StoredModel, eager: GiMeFive, faces: NDArray[np.uint8]
) -> None:
    model = Model(stored, Placement("cpu", "fp32", ""))
    artefact = stored.card.precisions["fp32"]
    assert np.allclose(model.scores(faces), expected(eager, faces, artefact), atol=1e-4)


def test_int8_scores_are_close_and_do_not_depend_on_the_batch(
    stored: StoredModel, eager: GiMeFive, faces: NDArray[np.uint8]
) -> None:
    if "int8" not in stored.card.precisions:
        pytest.skip("the embedded model has no int8 artefact")
    model = Model(stored, Placement("cpu", "int8", ""))
    scores = model.scores(faces)
    artefact = stored.card.precisions["fp32"]
    assert np.allclose(scores, expected(eager, faces, artefact), atol=0.1)
    alone = np.concatenate([model.scores(faces[i : i + 1]) for i in range(len(faces))])
    assert np.allclose(scores, alone, atol=1e-6)


def test_scores_are_float32_and_sum_to_one(stored: StoredModel, faces: NDArray[np.uint8]) -> None:
    scores = Model(stored, Placement("cpu", "fp32", "")).scores(faces)
    assert scores.dtype == np.float32
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("layer", ["conv3", "conv5"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_explanation_logits_are_of_the_full_precision_network(
    stored: StoredModel, eager: GiMeFive, faces: NDArray[np.uint8], precision: str, layer: str
) -> None:
    if precision not in stored.card.precisions:
        pytest.skip(f"the embedded model has no {precision} artefact")
    model = Model(stored, Placement("cpu", precision, ""))
    explanations = model.explain(faces, [Question(layer=layer)] * len(faces))
    with torch.inference_mode():
        logits = eager(torch.from_numpy(faces)).numpy()
    assert np.allclose([each.logits for each in explanations], logits, atol=1e-3)


@cuda
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 2e-2)])
def test_gpu_scores_match_the_eager_network(
    stored: StoredModel,
    eager: GiMeFive,
    faces: NDArray[np.uint8],
    precision: str,
    tolerance: float,
) -> None:
    model = Model(stored, Placement("cuda:0", precision, ""))
    artefact = stored.card.precisions["fp32"]
    assert np.allclose(model.scores(faces), expected(eager, faces, artefact), atol=tolerance)


def card(precisions: Mapping[str, str | None], cpu: str = "int8") -> ModelCard:
    """A card with these precisions, each with the engine it needs."""
    artefacts = {
        name: Artefact(file="m.pt", sha256="0" * 64, temperature=1, engine=engine)
        for name, engine in precisions.items()
    }
    return ModelCard(
        name="gimefive",
        version="1",
        labels=("a",),
        threshold=0.5,
        precisions=artefacts,
        default_precision={"cpu": cpu, "cuda": "fp16"},
    )


def test_auto_uses_the_cards_default_precision_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    engine = torch.backends.quantized.supported_engines[-1]
    both = card({"fp32": None, "int8": engine})
    assert choose_device(both, "auto", "auto").precision == "int8"
    assert (
        choose_device(card({"fp32": None, "int8": engine}, cpu="fp32"), "auto", "auto").precision
        == "fp32"
    )
    assert choose_device(both, "auto", "fp32").reason == "chosen by GIMEFIVE_PRECISION"


def test_a_gpu_runs_fp16_by_default_and_refuses_int8_and_unknown_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    found = choose_device(card({"fp32": None}), "auto", "auto")
    assert (found.device, found.precision, found.artefact) == ("cuda:0", "fp16", "fp32")
    with pytest.raises(StoreError, match="int8 runs on the CPU only"):
        choose_device(card({"fp32": None, "int8": "x86"}), "cuda", "int8")
    with pytest.raises(StoreError, match="CUDA devices found: 1"):
        choose_device(card({"fp32": None}), "cuda:3", "auto")


def test_auto_falls_back_to_fp32_without_the_int8_engine() -> None:
    found = choose_device(card({"fp32": None, "int8": "abacus"}), "cpu", "auto")
    assert found.precision == "fp32"
    assert "abacus" in found.reason


def test_an_unavailable_device_or_precision_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StoreError, match="no CUDA device for GIMEFIVE_DEVICE=cuda"):
        choose_device(card({"fp32": None}), "cuda", "auto")
    with pytest.raises(StoreError, match="fp16 runs on CUDA only"):
        choose_device(card({"fp32": None}), "cpu", "fp16")
    with pytest.raises(StoreError, match="has no int8 artefact, only fp32"):
        choose_device(card({"fp32": None}), "cpu", "int8")


def test_scores_use_the_calibration_of_the_served_precision(
    stored: StoredModel, faces: NDArray[np.uint8]
) -> None:
    if "int8" not in stored.card.precisions:
        pytest.skip("the embedded model has no int8 artefact")

    def scores(temperature: float, exponent: float) -> NDArray[np.float32]:
        own = stored.card.precisions["int8"].model_copy(
            update={"temperature": temperature, "exponent": exponent}
        )
        precisions = {"precisions": {**stored.card.precisions, "int8": own}}
        changed = replace(stored, card=stored.card.model_copy(update=precisions))
        return Model(changed, Placement("cpu", "int8", "")).scores(faces)

    ones = np.log(scores(1.0, 0.0))
    spread = ones.std(axis=1)
    assert np.log(scores(3.0, 0.5)).std(axis=1) == pytest.approx(spread**1.5 / 3, rel=1e-3)
