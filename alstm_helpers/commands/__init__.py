"""The command ``alstm``: every module parses, calls the package and prints; nothing is computed here.

``python -m alstm_helpers`` is the same command. Modules that are slow to import (Paddle, Matplotlib) are imported by
the command that needs them, so that ``alstm --help`` answers at once.
"""

from __future__ import annotations

import click

from alstm_helpers import __version__
from alstm_helpers.commands import course, data, deployment, evaluation, machine, own_videos, training
from alstm_helpers.commands.options import CONTEXT, DashedGroup


@click.group(cls=DashedGroup, context_settings=CONTEXT)
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(__version__)
def alstm(debug: bool) -> None:
    """AttentionLSTM on YouTube-8M: data, training, evaluation, prediction, export, and the course itself."""


for command in (
    *(data.make_data, data.download, data.convert, data.split, data.lists),
    *(own_videos.labels, own_videos.features, own_videos.backbones),
    *(training.train, training.crossval),
    *(evaluation.evaluate, evaluation.report, evaluation.predict, evaluation.explain),
    *(deployment.export, deployment.serve),
    *(course.course, course.lab, course.progress),
    *(machine.doctor, machine.bench),
):
    alstm.add_command(command)
