"""What a run that learns from photographs sees."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from service.faces import FaceDetector, crop
from service.imaging import decode
from tests.pictures import PORTRAIT
from tests.training.alone import train_alone
from tests.training.generated import noise_faces
from training.feed import Data
from training.photographs import DETECTOR
from training.recipe import Recipe, Stage
from training.run import Execution
from training.train import train


def test_faces_are_found_in_photographs_and_cut_out_anew_and_others_stay(tmp_path: Path) -> None:
    portrait = decode(PORTRAIT.read_bytes(), 1_000_000)
    own = crop(portrait, FaceDetector(DETECTOR).detect(portrait)[0])
    noise = noise_faces("noise", each=1)
    faces = replace(noise, name="faces", faces=np.stack([own] * len(noise)))
    recipe = Recipe(images=8, batch=8, stages=(Stage(1.0, 32),), photographed=0.5)

    data = Data.of([faces, noise], [noise])
    train_alone(recipe, data, tmp_path / "alone")
    train(recipe, data, tmp_path / "together", Execution(processes=2))

    kept = (tmp_path / name / "photographed.pt" for name in ("alone", "together"))
    alone, together = map(torch.load, kept)
    assert torch.equal(alone, together)
    cut, untouched = alone.split(len(noise))
    np.testing.assert_array_equal(untouched, noise.faces)
    for face in cut.numpy():
        assert not np.array_equal(face, own)
        assert np.corrcoef(face.ravel(), own.ravel())[0, 1] > 0.8
