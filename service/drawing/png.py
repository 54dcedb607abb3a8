"""Pictures as PNG."""

import cv2
import numpy as np
from numpy.typing import NDArray


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """The PNG file of an RGB ``[h, w, 3]`` or grey ``[h, w]`` picture."""
    ordered = picture if picture.ndim == 2 else picture[:, :, ::-1]
    _, data = cv2.imencode(".png", ordered)
    return data.tobytes()
