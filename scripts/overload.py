"""What a deadline does under overload: ``python -m scripts.overload``, the figures of ADR 4."""

from dataclasses import replace

import typer

from benchmarks.arrivals import open_loop
from benchmarks.overload import SHARES
from benchmarks.systems import systems
from benchmarks.wrk import closed_loop

PORT = 8120
DEADLINES_MS = (10_000, 250)


def main(precision: str = "int8", seconds: int = 6) -> None:
    """Send crops at shares of what 32 connections get done, with a long and a short deadline."""
    ours = systems()["gimefive"]
    with ours.serving(precision, PORT, 120):
        closed_loop(PORT, ours.request, 32, 2)
        capacity = closed_loop(PORT, ours.request, 32, 4).rate
        typer.echo(f"{capacity:.0f} a second in a closed loop")
        for deadline in DEADLINES_MS:
            headers = (*ours.request.headers, ("X-Deadline-Ms", str(deadline)))
            request = replace(ours.request, headers=headers)
            for share in SHARES:
                seen = open_loop(PORT, request, share * capacity, seconds)
                typer.echo(f"deadline {deadline} ms, {share:.0%}: {seen}")


if __name__ == "__main__":
    typer.run(main)
