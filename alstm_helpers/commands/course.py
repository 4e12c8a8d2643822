"""Commands of the course wing: course, progress."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from alstm_helpers.commands.options import line


@click.command()
@click.option("--profile", default="tiny", show_default=True, help="tiny, small, or full: also the real data set.")
@click.option("--notebooks", multiple=True, metavar="NN", help="Only these: --notebooks 03 05.")
@click.option("--answers", "variant", flag_value="answers", help="For instructors: notes, and every exercise answered.")
@click.option("--behind", "variant", flag_value="behind", help="Start each notebook at its cell for who is behind.")
@click.option("--out", default=None, metavar="D", help="Where executed copies go. [default: build/course]")
@click.argument("more", nargs=-1, metavar="")
def course(
    profile: str, notebooks: tuple[str, ...], variant: str | None, out: str | None, more: tuple[str, ...]
) -> None:
    """Run the notebooks headless; write executed copies, HTML and summary.json."""
    if more and not notebooks:
        raise click.UsageError(f"unexpected {' '.join(more)}; select notebooks with --notebooks")
    from alstm_helpers.course.runner import run_course
    from alstm_helpers.paths import work_folder

    folder = Path(out) if out else work_folder() / "build" / "course"
    done = run_course(folder, profile=profile, notebooks=[*notebooks, *more], variant=variant or "", report=line)
    good = [row for row in done["notebooks"] if row["status"] == "ok"]
    click.echo(f"{len(good)} of {len(done['notebooks'])} notebooks ok in {done['seconds']:.0f} s → {folder}")
    if len(good) < len(done["notebooks"]):
        sys.exit(1)


@click.command()
def progress() -> None:
    """Show which exercises of the course are done; kept on this machine alone."""
    from alstm_helpers.course.exercises import CHAPTERS, exercises_of
    from alstm_helpers.course.exercises.progress import ExerciseProgress

    done = ExerciseProgress.load()
    for chapter in CHAPTERS:
        marks = {"correct": "✓", "not yet": "…", "not attempted": "·"}
        shown = [f"{item.name} {marks[done.status(item.name)]}" for item in exercises_of(chapter)]
        click.echo(f"{chapter:02d}  {'  '.join(shown)}")
    click.echo(f"{done.path}: ✓ correct, … tried, · not attempted")
