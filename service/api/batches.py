"""POST /classify/frames: a batch of video frames."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from service import errors
from service.api import bodies, forms, problems
from service.api.json_response import JsonResponse
from service.api.parameters import Deadline, Faces, Threshold, Track, known_alone, within
from service.api.state import EngineOf
from service.contract import schemas
from service.contract.problems import problem_of

router = APIRouter(tags=["classify"], dependencies=[Depends(known_alone)])


@router.post(
    "/classify/frames",
    responses={
        200: {"model": schemas.FramesResponse},
        **problems.responses(errors.DeadlineExceeded),
    },
    openapi_extra=bodies.FRAMES_OPENAPI,
)
async def classify_frames(
    request: Request,
    engine: EngineOf,
    track: Track = False,
    faces: Faces = "detect",
    threshold: Threshold = None,
    deadline_ms: Deadline = None,
) -> JsonResponse:
    """Classify a batch of frames; order is kept, and a bad frame fails alone.

    `curl -F files=@1.jpg -F files=@2.jpg http://localhost:8000/classify/frames`
    """
    settings = engine.settings
    async with within(deadline_ms) as deadline:
        with engine.memory.hold(forms.body_size(request, settings.max_frames_bytes)):
            sent = await bodies.read_frames(
                request,
                max_frames=settings.max_frames,
                max_bytes=settings.max_frames_bytes,
                max_frame_bytes=settings.max_body_bytes,
            )
            answers = await engine.classify_frames(
                [part.read for part in sent],
                faces,
                track=track,
                deadline=deadline,
                timings=request.state.timings,
            )
    limit = engine.threshold(threshold)

    def frame(index: int) -> dict[str, Any]:
        name, answer = sent[index].name, answers[index]
        if isinstance(answer, errors.ServiceError):
            problem = problem_of(answer, request.state.request_id)
            return {"index": index, "name": name, "status": "error", "problem": problem}
        return {"index": index, "name": name, "status": "ok", **schemas.found(answer, limit)}

    frames = [frame(index) for index in range(len(sent))]
    return JsonResponse({"model": schemas.model_ref(engine.info), "frames": frames})
