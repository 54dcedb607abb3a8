"""The transfer of batches to a device and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from service.staging import OnCuda, bucket, on_cpu


def compute(faces: Tensor) -> Tensor:
    return faces.float().mean(dim=1)[:, :6]


@given(size=st.integers(1, 10_000))
def test_a_bucket_fits_its_batch_and_is_less_than_twice_as_large(size: int) -> None:
    assert size <= bucket(size) < 2 * size
    assert bucket(bucket(size)) == bucket(size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_results_match_the_cpu_whatever_batch_came_before() -> None:
    rng = np.random.default_rng(1)
    on_gpu = OnCuda(compute, torch.device("cuda:0"))
    with torch.inference_mode():
        for size in (5, 8, 3, 1, 5):
            faces = rng.integers(0, 256, (size, 64, 64), dtype=np.uint8)
            np.testing.assert_allclose(on_gpu(faces), on_cpu(compute)(faces), rtol=1e-5)
