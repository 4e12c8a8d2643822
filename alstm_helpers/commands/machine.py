"""Commands of the machine wing (chapter 2): doctor, bench."""

from __future__ import annotations

import json
import sys

import click

from alstm_helpers.commands.options import json_flag, line
from alstm_helpers.errors import AlstmError
from alstm_helpers.progress import progress_bar


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
def bench(as_json: bool, tensorflow: str | None, pytorch: str | None, only: tuple[str, ...]) -> None:
    """Measure this machine: conversion, reading, metrics, training steps, the server; about two minutes."""
    from alstm_helpers.machine.bench import PARTS, run_bench

    for name in only:
        if name not in PARTS:
            raise AlstmError(f"--only {name}", "no such part", f"choose from {', '.join(PARTS)}")
    figures = run_bench(tensorflow, pytorch, progress_bar, only)
    if as_json:
        click.echo(json.dumps({name: figure._asdict() for name, figure in figures.items()}, indent=2))
    else:
        for name, figure in figures.items():
            line(f"{name:<20} {figure.value:>10.4g} {figure.unit:<10} {figure.what}")
