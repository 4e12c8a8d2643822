"""Commands of the course wing: course, lab, progress."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alstm_helpers import language
from alstm_helpers.commands.options import line

if TYPE_CHECKING:
    from alstm_helpers.course.exercises.progress import ExerciseProgress


def _choose(context: click.Context, option: click.Parameter, name: str | None) -> None:
    """Choose the language before anything is imported whose strings are in it."""
    if name:
        os.environ[language.VARIABLE] = language.normalised(name)
        language.install()


in_language = click.option(
    "--language",
    metavar="L",
    is_eager=True,
    expose_value=False,
    callback=_choose,
    help="en or zh-CN. [default: that of the system]",
)


@click.command()
@in_language
@click.option("--profile", default="tiny", show_default=True, help="tiny, small, or full: also the real data set.")
@click.option("--notebooks", multiple=True, metavar="NN", help="Only these: --notebooks 03 05.")
@click.option("--answers", "variant", flag_value="answers", help="For instructors: notes, and every exercise answered.")
@click.option("--behind", "variant", flag_value="behind", help="Start each notebook at its cell for who is behind.")
@click.option("--otter", "tool", flag_value="otter", help="Run nothing: write assignments for otter-grader.")
@click.option("--nbgrader", "tool", flag_value="nbgrader", help="Run nothing: write assignments for nbgrader.")
@click.option("--out", default=None, metavar="D", help="Where executed copies go. [default: build/course]")
@click.argument("more", nargs=-1, metavar="")
def course(
    profile: str,
    notebooks: tuple[str, ...],
    variant: str | None,
    tool: str | None,
    out: str | None,
    more: tuple[str, ...],
) -> None:
    """Run the notebooks headless; write executed copies, HTML and summary.json."""
    if more and not notebooks:
        raise click.UsageError(f"unexpected {' '.join(more)}; select notebooks with --notebooks")
    if tool and variant:
        raise click.UsageError(f"--{tool} runs nothing, so leave out --{variant}")
    from alstm_helpers.course.assignments import write_assignments
    from alstm_helpers.course.runner import find_notebooks, require_profile, run_course
    from alstm_helpers.paths import work_folder

    folder = Path(out) if out else work_folder() / "build" / (tool or "course")
    require_profile(profile)
    if tool:
        count = write_assignments(find_notebooks([*notebooks, *more]), tool, profile, folder)
        line(f"assignments for {tool}, with model answers: {count} → {folder}")
        return
    done = run_course(folder, profile=profile, notebooks=[*notebooks, *more], variant=variant or "", report=line)
    good = [row for row in done["notebooks"] if row["status"] == "ok"]
    line(f"{len(good)} of {len(done['notebooks'])} notebooks ok in {done['seconds']:.0f} s → {folder}")
    if len(good) < len(done["notebooks"]):
        sys.exit(1)


@click.command()
@in_language
@click.argument("folder", metavar="[DIR]", required=False)
@click.option("--copy_only", is_flag=True, help="Copy the notebooks, and stop there.")
@click.option("--no_browser", is_flag=True, help="Start JupyterLab, but no browser.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of 127.0.0.1. [default: 8888, or the next free one]")
def lab(folder: str | None, copy_only: bool, no_browser: bool, port: int | None) -> None:
    """Copy the notebooks to DIR, and open JupyterLab there; data and results stay below DIR.

    A notebook that you have changed is never overwritten. Without DIR: ./attention-lstm-course, or, in a clone, its
    own notebooks.
    """
    from alstm_helpers.course.copies import copy_course, lab_folder, open_lab
    from alstm_helpers.extras import require
    from alstm_helpers.language import CHINESE
    from alstm_helpers.paths import course_files

    if not copy_only:
        require("jupyterlab")
    place, own = Path(folder) if folder else lab_folder(), course_files() / "notebooks"
    if place.resolve() not in (own.parent, own, own / CHINESE):  # these are opened as they are
        done = copy_course(place)
        line(f"{len(done.written)} files copied to {place}")
        if done.kept:
            kept = ", ".join(done.kept)
            line(f"left as they are, because they are not the course's: {kept}; rename them to get fresh copies")
    if not copy_only:
        open_lab(place, port=port, browser=not no_browser)


@click.command()
@click.option("--csv", "table", metavar="FILE", help="Write it as a table, one row per exercise, to hand in.")
@click.option("--name", default="", help="Who hands it in; a column of the table.")
@click.argument("join", nargs=-1, metavar="[TABLE…]")
def progress(table: str | None, name: str, join: tuple[str, ...]) -> None:
    """Show which exercises of the course are done; kept on this machine alone.

    TABLE…: tables that a class has handed in. With --csv, they are joined into one, a row per learner.
    """
    from alstm_helpers.course.exercises.progress import ExerciseProgress
    from alstm_helpers.course.handed_in import join_tables, write_table

    if (join or name) and not table:
        raise click.UsageError("name the file to write with --csv")
    if join and table:
        line(f"{join_tables([Path(path) for path in join], Path(table))} learners → {table}")
        return
    done = ExerciseProgress.load()
    if not done.path.exists():
        line(f"{done.path}: no such file yet; if you have tried exercises, run this in the folder with your notebooks")
    if table:
        line(f"{write_table(done, name, Path(table))} exercises → {table}")
        return
    show_progress(done)


def show_progress(done: ExerciseProgress) -> None:
    """Print a line per notebook with the state of its exercises."""
    from alstm_helpers.course.exercises import CHAPTERS, exercises_of

    marks = {"correct": "✓", "not yet": "…", "not attempted": "·"}
    for chapter in CHAPTERS:
        shown = [f"{item.name} {marks[done.status(item.name)]}" for item in exercises_of(chapter)]
        line(f"{chapter:02d}  {'  '.join(shown)}")
    line(f"{done.path}: ✓ correct, … tried, · not attempted")
