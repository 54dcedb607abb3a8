"""The effects of settings and parameters that a client can observe."""

import json
import shutil
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest

from service.engine import Engine
from service.settings import Settings
from tests import test_batches, test_videos
from tests.api import explain, png, post, serving
from tests.pictures import PORTRAIT, blurred_and_sharp, encode
from tests.videos import counting, grey
from tests.videos import encode as encode_video


@pytest.mark.parametrize(("threshold", "abstained"), [(0.0, False), (1.0, True)])
def test_faces_below_the_threshold_setting_abstain(threshold: float, abstained: bool) -> None:
    with serving(threshold=threshold) as client:
        (face,) = post(client, png(0), faces="whole").json()["faces"]
    assert face["abstained"] is abstained


def test_the_threshold_parameter_applies_to_batches_and_videos() -> None:
    black = encode_video([np.zeros((48, 64, 3), np.uint8)])
    with serving() as client:
        for threshold, abstained in ((0, False), (1, True)):
            answer = test_batches.post(client, [png(0)], threshold=threshold).json()
            assert answer["frames"][0]["faces"][0]["abstained"] is abstained
            told = test_videos.post(client, black, threshold=threshold)
            assert test_videos.lines(told)[1]["faces"][0]["abstained"] is abstained


def test_detections_below_the_detection_threshold_are_discarded() -> None:
    with serving(detection_threshold=0.99) as client:
        assert post(client, PORTRAIT.read_bytes(), "image/jpeg").json()["faces"] == []


def test_of_more_than_max_faces_those_with_the_highest_scores_are_returned() -> None:
    picture = encode(blurred_and_sharp(), "PNG")
    with serving() as client:
        blurred, sharp = post(client, picture).json()["faces"]
    assert blurred["detection_score"] < sharp["detection_score"]
    with serving(max_faces=1) as client:
        assert post(client, picture).json()["faces"] == [sharp]


def test_a_short_half_life_reduces_the_lag_of_smoothed_scores() -> None:
    with serving(half_life=0.001) as client:
        told = test_videos.post(client, encode_video(counting(25)))
        batch = test_batches.post(client, [png(0), png(10)], track=True).json()
    *_, last, _ = test_videos.lines(told)
    assert last["faces"][0]["smoothed"]["happiness"] == pytest.approx(grey(24), abs=1)
    assert batch["frames"][1]["faces"][0]["smoothed"]["happiness"] == 10


def test_explain_applies_the_calibration_of_the_model_card(tmp_path: Path) -> None:
    embedded = Settings().model_store
    shutil.copytree(embedded / "yunet", tmp_path / "yunet")
    newest = max((embedded / "gimefive").iterdir(), key=lambda folder: int(folder.name))
    card = json.loads((newest / "card.json").read_text())
    card["precisions"]["fp32"] |= {"temperature": 3.0, "exponent": 0.5}
    (tmp_path / "gimefive" / newest.name).mkdir(parents=True)
    (tmp_path / "gimefive" / newest.name / "card.json").write_text(json.dumps(card))
    with serving(model_store=tmp_path) as client:
        face = explain(client, png(9), "application/json").json()["face"]
    spread = 9 * sqrt(5) / 6
    assert face["confidence"] == pytest.approx(1 / (1 + 5 * exp(-9 * sqrt(spread) / 3)), rel=1e-4)


def test_an_unhealthy_service_fails_the_liveness_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sound(_: Engine) -> bool:
        return False

    with serving() as client:
        monkeypatch.setattr(Engine, "healthy", sound)
        assert client.get("/livez").status_code == 503
