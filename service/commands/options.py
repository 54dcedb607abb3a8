"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from service.explanation import Colormap, Layer, Method
from service.records import Emotion, FaceMode

Faces = Annotated[
    FaceMode,
    typer.Option(help="detect: find every face; whole: the picture is one aligned crop."),
]
Url = Annotated[
    str | None, typer.Option(help="Ask the service at this URL instead of starting a model.")
]
KeyFile = Annotated[Path | None, typer.Option(help="File with the API key for --url.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32, int8 or fp16.")]
Target = Annotated[
    Emotion | None,
    typer.Option(help="Emotion to explain.", show_default="the predicted one"),
]
MethodOption = Annotated[Method, typer.Option(help="Explanation method; gradcam is the paper's.")]
LayerOption = Annotated[Layer, typer.Option(help="Convolutional layer to explain.")]
Alpha = Annotated[float, typer.Option(min=0, max=1, help="Opacity of the heat map.")]
ColormapOption = Annotated[Colormap, typer.Option(help="Colours of the heat map.")]
