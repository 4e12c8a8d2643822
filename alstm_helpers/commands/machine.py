"""Commands of the machine wing (chapter 2): doctor, bench."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from alstm_helpers.commands.options import json_flag, line
from alstm_helpers.errors import AlstmError
from alstm_helpers.progress import progress_bar

if TYPE_CHECKING:
    from alstm_helpers.machine.measure import Figures


@click.command()
@json_flag
def doctor(as_json: bool) -> None:
    """Check the set-up: packages, Paddle, GPU, threads, speed."""
    from alstm_helpers.machine.doctor import FAIL, run_checks

    checks = run_checks()
    if as_json:
        click.echo(json.dumps([check._asdict() for check in checks], indent=2))
    else:
        for check in checks:
            line(f"{check.status:<4}  {check.name:<20} {check.detail}")
    if any(check.status == FAIL for check in checks):
        sys.exit(1)


@click.command()
@json_flag
@click.option("--tensorflow", metavar="PYTHON", help="A Python with TensorFlow 2: also measure tf2pkl's logic on it.")
@click.option("--pytorch", metavar="PYTHON", help="A Python with PyTorch: also measure the small model on it.")
@click.option(
    "--only",
    multiple=True,
    metavar="PART",
    help="data, metrics, model, parts, full_size, video, server, latency (4 min).",
)
@click.option(
    "--busy", type=click.IntRange(0, 1024), default=0, help="Keep N cores busy meanwhile, as other work does."
)
def bench(as_json: bool, tensorflow: str | None, pytorch: str | None, only: tuple[str, ...], busy: int) -> None:
    """Measure this machine: conversion, reading, metrics, training steps, the server; a quarter of an hour or more.

    Each figure is the median of several rounds, with the interval in which it may lie, and the same by processor
    time. A ratio whose interval includes 1 is refused: a dash, and null in JSON. Ctrl-C shows what has been measured.
    """
    from alstm_helpers.machine.bench import PARTS, run_bench

    for name in only:
        if name not in PARTS:
            raise AlstmError(f"--only {name}", "no such part", f"choose from {', '.join(PARTS)}")
    report = run_bench(tensorflow, pytorch, progress_bar, only, busy)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        _show(report.machine, report.figures)
    if part := report.machine.get("stopped_in"):
        line(f"the part {part}: stopped before its end; measure it with --only {part}", err=True)
        raise click.Abort  # it ends as every command does after Ctrl-C


def _show(machine: Mapping[str, object], figures: Figures) -> None:
    """Print the figures as a table."""
    load = f"load {machine['load_before']} before, {machine['load_after']} after"
    line(f"{machine['processor']}, {machine['cores']} cores; {load}")
    line(f"{'':<30} {'median':>8} {'spread':>15} {'unit':<8} {'processor':>9}")
    for name, figure in figures.items():
        spread = "–".join(map(_number, figure.spread or ()))
        cpu = _number(figure.cpu) if figure.cpu_spread else ""
        line(f"{name:<30} {_number(figure.value):>8} {spread:>15} {figure.unit:<8} {cpu:>9} {figure.what}")


def _number(value: float | None) -> str:
    """Return four digits of a number; a dash for a ratio that is refused."""
    return "–" if value is None else f"{value:.4g}"
