"""The results of `benchmarks.compare` as tables."""

from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = ("1", "8", "32", "128")


def show(report: dict[str, Any]) -> None:
    """Print all tables."""
    console = Console(width=120)
    for precision, found in report["systems"].items():
        best = max(report["limit"][precision].values())
        console.print(_closed(precision, found, best))
    extras = report.get("extras", {})
    for name, rows in extras.get("overload", {}).items():
        if "failed" not in rows:
            console.print(_overload(name, rows))
    for name, row in extras.get("variety", {}).items():
        if name != "failed":
            console.print(f"{name}: {row['rate']:.1f} requests/s, p99 {row['p99']:.0f} ms")


def _closed(precision: str, found: dict[str, Any], best: float) -> Table:
    table = Table(title=f"{precision}: images/s; bare model file: {best:.0f}")
    table.add_column("system")
    for count in COLUMNS:
        table.add_column(f"{count} conn.", justify="right")
    for heading in ("of limit", "p50/p99 ms", "CPU s/1000, main", "MB", "batch", "start s"):
        table.add_column(heading, justify="right")
    for name, system in found.items():
        if "failed" in system:
            table.add_row(name, "failed: " + system["failed"].splitlines()[0])
            continue
        loops = system["connections"]
        at = loops.get("32") or next(iter(loops.values()))
        table.add_row(
            name,
            *(f"{loops[count]['rate']:.0f}" if count in loops else "" for count in COLUMNS),
            f"{at['rate'] / best:.2f}",
            f"{at['p50']:.1f}/{at['p99']:.1f}",
            _cpu(at),
            f"{max(loop['peak_bytes'] for loop in loops.values()) / 1e6:.0f}",
            f"{at['mean_batch']:.1f}" if at["mean_batch"] else "",
            f"{system['start_seconds']:.1f}",
        )
    return table


def _cpu(loop: dict[str, Any]) -> str:
    """CPU seconds per 1,000 answers, of all processes and of the main one; empty for none."""
    return "/".join(
        f"{loop[name]:.2f}"
        for name in ("cpu_seconds_per_1000", "main_process_cpu_seconds_per_1000")
        if loop[name]
    )


def _overload(name: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{name}, requests at a constant rate")
    headings = ("share", "offered/s", "accepted", "p50/p99/p99.9 ms", "refused", "within ms")
    for heading in (*headings, "failed", "hung"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row['share']:.0%}",
            f"{row['offered']:.0f}",
            str(row["accepted"]),
            "/".join(f"{ms:.0f}" for ms in row["accepted_ms"]),
            f"{row['refused'] / max(1, row['requests']):.1%}",
            "/".join(f"{ms:.0f}" for ms in row["refused_ms"]),
            str(row["failed"]),
            str(row["hung"]),
        )
    return table
