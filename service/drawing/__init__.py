"""Drawing of explanations: from arrays to RGB arrays and PNG files, without torch.

`draw` makes every view of one explained face; `annotate` draws any number of faces on a frame.
"""

from service.drawing.arrangement import Arrangement, Placed
from service.drawing.heat import COLORMAPS, Affine
from service.drawing.overlay import annotate
from service.drawing.palette import EMOTION_COLOURS
from service.drawing.png import encode_png
from service.drawing.scene import Style, Subject
from service.drawing.views import VIEWS, draw

__all__ = [
    "COLORMAPS",
    "EMOTION_COLOURS",
    "VIEWS",
    "Affine",
    "Arrangement",
    "Placed",
    "Style",
    "Subject",
    "annotate",
    "draw",
    "encode_png",
]
