"""The command that works on videos: progress, a summary, and outputs that are never partial."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.markup import escape
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

from service.atomic import atomic_write
from service.client import DrawnVideo, Unreachable
from service.commands.backends import Backend, Query, sampling
from service.commands.ending import reason
from service.commands.jobs import Job, only, unfinished
from service.commands.report import Console, counted
from service.contract import lines
from service.contract.problems import TABLE
from service.csv_text import csv_text
from service.errors import BadInput, ModelFailure, NotFound, ServiceError, Unauthorised

UNANSWERED = f"urn:gimefive:{TABLE[ModelFailure].slug}"


@dataclass(slots=True)
class Outcome:
    """The result of a job.

    Attributes:
        summary: totals and people; None if the backend gave none.
        failed: how many frames are damaged or have no answer.
        unanswered: how many of them the model failed on.
        problem: why it ended early, if it did.
    """

    summary: lines.VideoSummary | None = None
    failed: int = 0
    unanswered: int = 0
    problem: ServiceError | OSError | None = None


def run(
    backend: AbstractAsyncContextManager[Backend],
    videos: Sequence[Path],
    movie: Path | None,
    table: Path | None,
    query: Query,
) -> int:
    """Process one video, or several with outputs in folders; returns how many failed.

    Args:
        backend: yet to be opened.
        videos: a video; or several, and folders of them.
        movie: annotated MP4 to write, or a folder for several videos; None for none.
        table: likewise CSV.
        query: which frames are sampled and how they are drawn, as for POST /explain/video.

    Raises:
        BadParameter: the outputs cannot be written, or there is no video.
        ServiceError: the service cannot be asked at all.
    """
    try:
        sampling(query)  # before a model starts
    except BadInput as error:
        raise typer.BadParameter(str(error)) from error
    several = len(videos) > 1 or videos[0].is_dir()
    jobs = unfinished(videos, movie, table) if several else [only(videos[0], movie, table)]

    async def work() -> int:
        async with backend as opened:
            return await process(opened, jobs, query, Console(stderr=True), again=several)

    return asyncio.run(work()) if jobs else 0


async def process(
    backend: Backend, jobs: Sequence[Job], query: Query, progress_on: Console, *, again: bool
) -> int:
    """Do the jobs in order and print who was seen; returns how many failed.

    Outputs appear once they are complete, a table also if its video ends early.

    Args:
        backend: what answers.
        jobs: the folders of their outputs are created.
        query: which frames are sampled and how they are drawn, as for POST /explain/video.
        progress_on: where progress and problems are printed.
        again: whether a later run retries videos without outputs: no table is kept then that is
            incomplete through no fault of its video.

    Raises:
        ServiceError: the service cannot be asked at all.
    """
    failed = 0
    for job in jobs:
        try:
            for output in job.outputs:
                output.parent.mkdir(parents=True, exist_ok=True)
            outcome = await _run(backend, job, query, progress_on, again)
        except (Unreachable, Unauthorised, NotFound):
            raise  # no other video would do better
        except (ServiceError, OSError) as error:
            outcome = Outcome(problem=error)
        if outcome.summary:
            _print_summary(job.source, outcome.summary)
        if outcome.problem:
            told = reason(outcome.problem)
            if not told.startswith(f"{job.source}: "):
                told = f"{job.source}: {told}"
            progress_on.print(told, style="red", markup=False, soft_wrap=True)
        failed += bool(outcome.problem or outcome.failed)
    return failed


async def _run(
    backend: Backend, job: Job, query: Query, progress_on: Console, again: bool
) -> Outcome:
    if job.table:
        _check_ours(job.table)
    answers: AsyncGenerator[lines.VideoLine | DrawnVideo] = (
        backend.annotate(job.source, job.movie, query, told=job.table is not None)
        if job.movie
        else backend.watch(job.source, query)
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
        outcome = await _follow(answers, job.source.name, table, progress)
        if again and outcome.unanswered:
            frames = counted(outcome.unanswered, "frame")
            raise ModelFailure(f"the model failed on {frames}: run it again")
        if outcome.problem and job.table:
            if again and not isinstance(outcome.problem, BadInput):
                raise outcome.problem
            told = f"{job.table} has the rows up to this failure:"
            progress_on.print(told, markup=False, soft_wrap=True)
        return outcome


def _check_ours(table: Path) -> None:
    head = csv_text([lines.COLUMNS]).encode()
    if table.exists() and table.stat().st_size and not table.read_bytes().startswith(head):
        raise BadInput(f"{table} is another kind of table: choose another name")


async def _follow(
    answers: AsyncIterator[lines.VideoLine | DrawnVideo],
    name: str,
    table: lines.Table | None,
    progress: Progress,
) -> Outcome:
    bar = progress.add_task(escape(name), total=None)
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
                        outcome.unanswered += answer.problem.type == UNANSWERED
                        told = f"frame {answer.frame}: {answer.problem.detail}"
                        progress.console.print(told, style="red", markup=False)
                    if table is not None:
                        table.add(answer)
                case lines.VideoSummary():
                    outcome.summary = answer
                    progress.update(bar, description=f"annotating {escape(name)}", total=None)
                case DrawnVideo(failed) if failed:
                    outcome.failed += failed
                    told = f"frames without annotations, damaged or failed by the model: {failed}"
                    progress.console.print(told, style="red")
    except ServiceError as error:
        if not begun:
            raise
        outcome.problem = error
    return outcome


def _print_summary(source: Path, summary: lines.VideoSummary) -> None:
    people = Table("person", "from", "to", "frames", "emotion", box=None, pad_edge=False)
    for column in (people.columns[1], people.columns[2], people.columns[3]):
        column.justify = "right"
    for track in summary.tracks:
        times = (f"{track.first_time:.2f} s", f"{track.last_time:.2f} s")
        people.add_row(f"#{track.track}", *times, str(track.frames), track.emotion)
    console = Console()
    told = f"{source}: {counted(summary.faces, 'face')} in {counted(summary.frames, 'frame')}"
    console.print(told, markup=False, soft_wrap=True)
    if summary.tracks:
        console.print(people)


class _Rate(ProgressColumn):
    """Frames per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} frames/s" if task.speed else "", style="progress.data.speed")


COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    _Rate(),
    TimeRemainingColumn(),
)
