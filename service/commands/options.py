"""Options that several commands of the command line have."""

from pathlib import Path
from typing import Annotated

import typer

from service.explanation import Colormap, Layer, Method
from service.records import Emotion

Url = Annotated[
    str | None, typer.Option(help="ask the service there instead of starting a model here")
]
KeyFile = Annotated[
    Path | None, typer.Option(help="file that holds the API key, if that service wants one")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32, int8 or fp16")]
Target = Annotated[Emotion | None, typer.Option(help="the predicted one if left out")]
MethodOption = Annotated[Method, typer.Option(help="gradcam is the paper's")]
LayerOption = Annotated[Layer, typer.Option(help="the convolution to explain")]
Alpha = Annotated[float, typer.Option(help="share of heat, 0 to 1")]
ColormapOption = Annotated[Colormap, typer.Option(help="colours of the heat")]
