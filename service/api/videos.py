"""POST /classify/video and /explain/video: a whole video."""

import errno
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from os import SEEK_END
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Depends, Query, Request

from service import errors
from service.api import problems, streams, uploads
from service.api.accept import prefers
from service.api.openapi import header
from service.api.parameters import (
    Alpha,
    ColormapQuery,
    Deadline,
    Faces,
    QuestionOf,
    Threshold,
    Track,
    deadline_of,
    known_alone,
)
from service.api.state import EngineOf
from service.drawing import Style
from service.engine import Engine
from service.records import FrameResult
from service.video import Sampling

log = structlog.get_logger(__name__)
router = APIRouter(dependencies=[Depends(known_alone)])

NDJSON = "application/x-ndjson"


async def _sampling(
    fps: Annotated[
        float | None,
        Query(gt=0, allow_inf_nan=False, examples=[5], description="Frames per second to sample."),
    ] = None,
    every: Annotated[
        int | None, Query(ge=1, examples=[10], description="Sample every n-th frame.")
    ] = None,
    start: Annotated[
        float, Query(ge=0, allow_inf_nan=False, description="Start time, in seconds.")
    ] = 0.0,
    end: Annotated[
        float | None,
        Query(gt=0, allow_inf_nan=False, examples=[90], description="End time, in seconds."),
    ] = None,
) -> Sampling:
    return Sampling(fps, every, start, end)


SamplingOf = Annotated[Sampling, Depends(_sampling)]
"""Which frames are sampled, as a route's argument; by default all."""


@asynccontextmanager
async def _place(engine: Engine) -> AsyncIterator[None]:
    """A place for a video; a refusal because of a full disk is counted.

    Raises:
        DiskFull: there is no room for it.
    """
    async with engine.reserve_video():
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            log.error("a video cannot be written", why=str(error))
            engine.metrics.rejected("disk_full")
            raise errors.DiskFull(
                "there is no room for the video just now: try again later", 60
            ) from error


PROBLEMS = problems.responses(errors.NotAVideo, errors.DeadlineExceeded)


@router.post(
    "/classify/video",
    tags=["classify"],
    response_class=streams.HeldStream,
    status_code=200,
    responses={
        200: {
            "description": "One line for the video, one per sampled frame, one for the summary.",
            "content": {
                NDJSON: {"schema": {"$ref": "#/components/schemas/AnswerLine"}},
                "text/csv": {"schema": {"$ref": "#/components/schemas/FaceTable"}},
            },
        },
        **PROBLEMS,
    },
    openapi_extra=uploads.OPENAPI,
)
async def classify_video(
    request: Request,
    engine: EngineOf,
    sampling: SamplingOf,
    track: Track = True,
    faces: Faces = "detect",
    threshold: Threshold = None,
    deadline_ms: Deadline = None,
) -> streams.HeldStream:
    """Classify the faces of a video frame by frame; the answer streams while it is computed.

    `curl -N -F file=@video.mp4 http://localhost:8000/classify/video`

    A frame for which the model fails has `problem` in place of `faces`; so has the first frame of a
    damaged stretch.
    """
    limit = engine.threshold(threshold)
    deadline = deadline_of(deadline_ms)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_place(engine))
        file = await stack.enter_async_context(uploads.temporary(engine.settings.temp_dir))
        async with engine.cutoff.enforced(deadline):
            await uploads.save_video(request, file, engine.settings.max_video_bytes)
        watched = engine.footage.watch(file, sampling, faces, track=track)
        await stack.enter_async_context(aclosing(watched))
        answers = engine.cutoff.until(watched, deadline)
        info = await anext(answers)
        kind = "text/csv" if prefers(request, "text/csv", NDJSON) else NDJSON
        told = (
            streams.ndjson(info, answers, limit, request.state.request_id)
            if kind == NDJSON
            else streams.table(answers)
        )
        return streams.HeldStream(told, stack.pop_all(), kind, {"Vary": "Accept"})


@router.post(
    "/explain/video",
    tags=["explain"],
    response_class=streams.HeldStream,
    status_code=200,
    responses={
        200: {
            "description": "The annotated video.",
            "content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "X-Failed-Frames": header(
                    "Frames without annotations: the model failed for them.", 0, type="integer"
                )
            },
        },
        **PROBLEMS,
    },
    openapi_extra=uploads.OPENAPI,
)
async def explain_video(
    request: Request,
    engine: EngineOf,
    sampling: SamplingOf,
    question: QuestionOf,
    alpha: Alpha = 0.4,
    colormap: ColormapQuery = "jet",
    landmarks: Annotated[bool, Query(description="Draw each face's five landmarks.")] = True,
    face: Annotated[
        int | None,
        Query(
            ge=0,
            examples=[0],
            description="Whose heat map to draw; 0 is the largest face. Default: all.",
        ),
    ] = None,
    view: Annotated[  # noqa: ARG001  # it is there to refuse the others
        Literal["overlay"], Query(description="Videos have no other.")
    ] = "overlay",
    faithfulness: Annotated[  # noqa: ARG001  # as /explain has it for those who want a picture
        bool, Query(description="Ignored: measured for single images only.")
    ] = False,
    track: Track = True,
    faces: Faces = "detect",
    threshold: Threshold = None,
    deadline_ms: Deadline = None,
) -> streams.HeldStream:
    """Annotate a video with its faces, their scores and heat maps; MP4 that browsers play.

    `curl -F file=@video.mp4 -o annotated.mp4 http://localhost:8000/explain/video`

    X-Failed-Frames counts the frames without annotations, for which the model failed, and the
    places where damaged frames are left out.
    """
    style = Style(alpha, colormap, landmarks, engine.threshold(threshold))
    folder = engine.settings.temp_dir
    deadline = deadline_of(deadline_ms)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_place(engine))
        out = await stack.enter_async_context(uploads.temporary(folder))
        async with uploads.temporary(folder) as file:
            async with engine.cutoff.enforced(deadline):
                await uploads.save_video(request, file, engine.settings.max_video_bytes)
            answers = engine.footage.annotate(
                file, out, sampling, question, style, face=face, faces=faces, track=track
            )
            async with engine.cutoff.enforced(deadline), aclosing(answers):
                frames = (each async for each in answers if isinstance(each, FrameResult))
                failed = len([1 async for frame in frames if frame.problem])
        headers = {
            "Content-Length": str(out.seek(0, SEEK_END)),
            "X-Failed-Frames": str(failed),
        }
        return streams.HeldStream(uploads.pieces(out), stack.pop_all(), "video/mp4", headers)
