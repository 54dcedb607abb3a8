"""Videos: read lazily with true timestamps, and written as H.264 that a browser plays."""

from service.video.reading import Frame, Video
from service.video.sampling import Sampling

__all__ = ["Frame", "Sampling", "Video"]
