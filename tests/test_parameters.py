"""What settings and parameters change, seen by a client."""

import json
import shutil
from math import exp
from pathlib import Path

import numpy as np
import pytest

from service.engine import Engine
from service.imaging import decode
from service.settings import Settings
from tests import test_batches, test_videos
from tests.api import explain, png, post, serving
from tests.pictures import PORTRAIT, encode
from tests.videos import counting, grey
from tests.videos import encode as encode_video


@pytest.mark.parametrize(("threshold", "abstained"), [(0.0, False), (1.0, True)])
def test_below_the_settings_threshold_answers_abstain(threshold: float, abstained: bool) -> None:
    with serving(threshold=threshold) as client:
        (face,) = post(client, png(0), faces="whole").json()["faces"]
    assert face["abstained"] is abstained


def test_below_the_requests_threshold_frames_and_videos_abstain() -> None:
    black = encode_video([np.zeros((48, 64, 3), np.uint8)])
    with serving() as client:
        for threshold, abstained in ((0, False), (1, True)):
            answer = test_batches.post(client, [png(0)], threshold=threshold).json()
            assert answer["frames"][0]["faces"][0]["abstained"] is abstained
            told = test_videos.post(client, black, threshold=threshold)
            assert test_videos.lines(told)[1]["faces"][0]["abstained"] is abstained


def test_what_the_detector_is_less_sure_of_is_no_face() -> None:
    with serving(detection_threshold=0.99) as client:
        assert post(client, PORTRAIT.read_bytes(), "image/jpeg").json()["faces"] == []


def test_no_more_faces_than_wished_are_answered() -> None:
    twice = encode(np.tile(decode(PORTRAIT.read_bytes(), 10**6), (1, 2, 1)), "PNG")
    with serving(max_faces=1) as client:
        assert len(post(client, twice).json()["faces"]) == 1


def test_the_shorter_the_half_life_the_less_scores_lag() -> None:
    with serving(half_life=0.001) as client:
        told = test_videos.post(client, encode_video(counting(25)))
        batch = test_batches.post(client, [png(0), png(10)], track=True).json()
    *_, last, _ = test_videos.lines(told)
    assert last["faces"][0]["smoothed"]["happiness"] == pytest.approx(grey(24), abs=1)
    assert batch["frames"][1]["faces"][0]["smoothed"]["happiness"] == 10


def test_an_explanation_is_calibrated_by_the_temperature_of_its_card(tmp_path: Path) -> None:
    embedded = Settings().model_store
    shutil.copytree(embedded / "yunet", tmp_path / "yunet")
    newest = max((embedded / "gimefive").iterdir(), key=lambda folder: int(folder.name))
    card = json.loads((newest / "card.json").read_text())
    card["precisions"]["fp32"]["temperature"] = 3.0
    (tmp_path / "gimefive" / newest.name).mkdir(parents=True)
    (tmp_path / "gimefive" / newest.name / "card.json").write_text(json.dumps(card))
    with serving(model_store=tmp_path) as client:
        face = explain(client, png(9), "application/json").json()["face"]
    assert face["confidence"] == pytest.approx(1 / (1 + 5 * exp(-9 / 3)), rel=1e-4)


def test_a_service_that_is_not_sound_is_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sound(_: Engine) -> bool:
        return False

    with serving() as client:
        monkeypatch.setattr(Engine, "healthy", sound)
        assert client.get("/livez").status_code == 503
