"""A video worked on from the command line: progress, and files that are complete or not there."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from service.api import lines
from service.drawing import Style
from service.engine import Engine
from service.explanation import Question
from service.intake import FaceMode
from service.records import Moment, Summary, VideoInfo
from service.video import Sampling


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with a video.

    Attributes:
        source: the video.
        movie: MP4 to write, drawn on; None for none.
        table: CSV to write, a row a face; None for none.
        sampling: which frames are looked at.
        question: how faces are explained in the movie.
        style: how they are drawn.
        faces: find faces, or take each frame as one aligned face crop.
    """

    source: Path
    movie: Path | None
    table: Path | None
    sampling: Sampling
    question: Question
    style: Style
    faces: FaceMode


async def work(engine: Engine, job: Job, progress_on: Console) -> Summary:
    """Do it; the files appear once they are complete.

    Raises:
        ServiceError: the video cannot be used; no file is left.
        OSError: a file cannot be read or written.
    """
    async with AsyncExitStack() as stack:
        source = stack.enter_context(job.source.open("rb"))
        table = stack.enter_context(arriving(job.table)) if job.table else None
        movie = stack.enter_context(arriving(job.movie)) if job.movie else None
        answers = _answers(engine, job, source, movie)
        await stack.enter_async_context(aclosing(answers))
        progress = stack.enter_context(
            Progress(*COLUMNS, console=progress_on, transient=True, redirect_stdout=False)
        )
        return await _follow(answers, table, progress)


def _answers(
    engine: Engine, job: Job, source: BinaryIO, movie: BinaryIO | None
) -> AsyncGenerator[VideoInfo | Moment | Summary]:
    if movie is None:
        return engine.footage.watch(source, job.sampling, job.faces)
    return engine.footage.annotate(
        source, movie, job.sampling, job.question, job.style, faces=job.faces
    )


async def _follow(
    answers: AsyncIterator[VideoInfo | Moment | Summary],
    table: BinaryIO | None,
    progress: Progress,
) -> Summary:
    bar = progress.add_task("watching", total=None)
    summary = Summary(0, 0, ())
    if table is not None:
        table.write(lines.text([lines.COLUMNS]).encode())
    async for answer in answers:
        match answer:
            case VideoInfo():
                progress.update(bar, total=answer.sampled_frames)
            case Moment():
                progress.advance(bar)
                if table is not None:
                    table.write(lines.text(lines.rows(answer)).encode())
            case Summary():
                summary = answer
    return summary


def tell(summary: Summary) -> None:
    """Print who was seen, for people."""
    people = Table("person", "from", "to", "frames", "emotion", box=None, pad_edge=False)
    for column in (people.columns[1], people.columns[2], people.columns[3]):
        column.justify = "right"
    for track in summary.tracks:
        times = (f"{track.first_time:.2f} s", f"{track.last_time:.2f} s")
        people.add_row(f"#{track.track}", *times, str(track.frames), track.emotion)
    console = Console()
    console.print(f"{summary.faces} faces in {summary.frames} frames")
    if summary.tracks:
        console.print(people)


@contextmanager
def arriving(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name once the block ends well, and is removed otherwise.

    Raises:
        OSError: it cannot be written there.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("x+b") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Rate(ProgressColumn):
    """Frames a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} frames/s" if task.speed else "", style="progress.data.speed")


COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    _Rate(),
    TimeRemainingColumn(),
)
