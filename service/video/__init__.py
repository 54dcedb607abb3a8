"""Videos: read lazily with true timestamps, and written as H.264 that a browser plays."""

from service.video.files import disk_full_as_overloaded
from service.video.reading import Frame, Video
from service.video.sampling import Sampling
from service.video.sound import Sound
from service.video.writing import Movie

__all__ = ["Frame", "Movie", "Sampling", "Sound", "Video", "disk_full_as_overloaded"]
