"""Faces that a training run crops from synthetic photographs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from service.faces import FaceDetector, crop
from service.imaging import decode
from tests.pictures import PORTRAIT
from tests.training.generated import noise_faces
from tests.training.in_process import train_in_process
from training.feed import Data
from training.photographs import DETECTOR
from training.recipe import Recipe, Stage
from training.run import Execution
from training.train import train


def test_detected_faces_are_cropped_from_photographs_and_others_unchanged(tmp_path: Path) -> None:
    portrait = decode(PORTRAIT.read_bytes(), 1_000_000)
    own = crop(portrait, FaceDetector(DETECTOR).detect(portrait)[0])
    noise = noise_faces("noise", each=1)
    faces = replace(noise, name="faces", faces=np.stack([own] * len(noise)))
    recipe = Recipe(images=8, batch=8, stages=(Stage(1.0, 32),), photographed=0.5)

    data = Data.of([faces, noise], [noise])
    train_in_process(recipe, data, tmp_path / "alone")
    train(recipe, data, tmp_path / "together", Execution(processes=2))

    kept = (tmp_path / name / "photographed.pt" for name in ("alone", "together"))
    alone, distributed = map(torch.load, kept)
    assert torch.equal(alone, distributed)
    cropped, untouched = alone.split(len(noise))
    np.testing.assert_array_equal(untouched, noise.faces)
    for face in cropped.numpy():
        assert not np.array_equal(face, own)
        assert np.corrcoef(face.ravel(), own.ravel())[0, 1] > 0.8
