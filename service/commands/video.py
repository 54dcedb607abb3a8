"""A video worked on from the command line: progress, and files that are complete or not there."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

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
from service.atomic import atomic_write
from service.client import DrawnVideo
from service.commands.backends import Backend, Query
from service.csv_text import csv_text
from service.errors import BadInput, ServiceError


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with a video.

    Attributes:
        source: the video.
        movie: MP4 to write, drawn on; None for none.
        table: CSV to write, a row a face; None for none.
        query: which frames are looked at and how they are drawn, as for POST /explain/video.
    """

    source: Path
    movie: Path | None
    table: Path | None
    query: Query


@dataclass(slots=True)
class Outcome:
    """What became of it.

    Attributes:
        summary: what there was in all; None if nobody told.
        failed: how often the model could not answer for a frame.
        problem: what it broke off with, if it did.
    """

    summary: lines.VideoSummary | None = None
    failed: int = 0
    problem: ServiceError | None = None


async def run(backend: Backend, job: Job, progress_on: Console) -> Outcome:
    """Do it; the files appear once they are complete, the table also where the work breaks off.

    Raises:
        BadInput: the table is there already, and is none of ours.
        ServiceError: the video cannot be used, or the service has another problem, and nothing was
            told of the video; no file is left.
        OSError: a file cannot be read or written.
    """
    if job.table:
        _check_ours(job.table)
    answers: AsyncGenerator[lines.VideoLine | DrawnVideo] = (
        backend.annotate(job.source, job.movie, job.query, told=job.table is not None)
        if job.movie
        else backend.watch(job.source, job.query)
    )
    async with AsyncExitStack() as stack:
        table = lines.Table(stack.enter_context(atomic_write(job.table))) if job.table else None
        await stack.enter_async_context(aclosing(answers))
        progress = stack.enter_context(
            Progress(
                *COLUMNS,
                console=progress_on,
                transient=True,
                redirect_stdout=False,
                disable=not progress_on.is_terminal,
            )
        )
        return await _follow(answers, table, progress)


def _check_ours(table: Path) -> None:
    head = csv_text([lines.COLUMNS]).encode()
    if table.exists() and table.stat().st_size and not table.read_bytes().startswith(head):
        raise BadInput(f"{table} holds something else: choose another name")


async def _follow(
    answers: AsyncIterator[lines.VideoLine | DrawnVideo],
    table: lines.Table | None,
    progress: Progress,
) -> Outcome:
    bar = progress.add_task("watching", total=None)
    outcome = Outcome()
    begun = False
    try:
        async for answer in answers:
            begun = True
            match answer:
                case lines.VideoHead():
                    progress.update(bar, total=answer.sampled_frames)
                case lines.VideoFrame():
                    progress.advance(bar)
                    if answer.problem:
                        outcome.failed += 1
                        told = f"frame {answer.frame}: {answer.problem.detail}"
                        progress.console.print(told, style="red", markup=False)
                    if table is not None:
                        table.add(answer)
                case lines.VideoSummary():
                    outcome.summary = answer
                    progress.update(bar, description="drawing", total=None)
                case DrawnVideo(failed) if failed:
                    outcome.failed += failed
                    told = f"frames that are damaged or got no answer, and show nothing: {failed}"
                    progress.console.print(told, style="red")
    except ServiceError as error:
        if not begun:
            raise
        outcome.problem = error
    return outcome


def print_summary(summary: lines.VideoSummary) -> None:
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
