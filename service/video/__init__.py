"""Reading videos lazily, with exact times, and writing H.264 that browsers play."""

from service.video.frame import Frame
from service.video.reading import Video
from service.video.sampling import Sampling
from service.video.sound import Sound
from service.video.writing import Movie

__all__ = ["Frame", "Movie", "Sampling", "Sound", "Video"]
