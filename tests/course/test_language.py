"""Habits of English that non-native authors fall into, kept out of everything that a learner reads.

Each habit is a pattern, with a sentence that it must find and one that it must leave alone.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for pattern in (
        "notebooks/*.ipynb",
        "docs/*.md",
        "docs/*.yml",
        "*README.md",
        "data/README.md",
        "alstm_helpers/course/exercises/*.py",
    )
    for path in ROOT.glob(pattern)
)
UNITS = (
    "second|minute|hour|day|video|clip|shard|frame|batch|step|epoch|class|label|line|row|notebook|card|GPU|core|fold"
)

HABITS = {  # name: (pattern, what it must find, what it must not find)
    "mend": (
        r"\b[Mm]end(s|ed|ing)?\b(?!\.\w|[\"')]| = )",
        "Mend the softmax.",
        "see mend.yaml, and amend it",
    ),
    "own without a possessive": (
        r"(?i)(?<!\bits )(?<!their )(?<!your )(?<!\bour )(?<!\bmy )(?<!\bhis )(?<!\bher )"
        r"(?<!'s )(?<!s' )(?<!’s )(?<!s’ )"
        r"\bown (video|clip|data|label|record|class|set|folder)(s|es)?\b",
        "Label own clips.",
        "Label your own clips; the model's own data",
    ),
    "X a Y": (
        rf"\b(?:labels|seconds|videos|frames|features|steps|clips|bytes|requests|row|bar|process|line|loss)"
        rf" (?:a|an|each) (?:{UNITS})\b(?! (?:of|that|is|in)\b)",
        "It reads 600 videos a second.",
        "600 videos per second; the process a user starts",
    ),
    "which share": (r"\b[Ww]hich share\b", "Which share is padding?", "What share is padding?"),
    "from nothing": (r"\bfrom nothing\b", "train it from nothing", "train it from scratch"),
    "anew": (r"(?<![\"'`])\b[Aa]new\b(?![\"'`])", "begin anew", 'the answer "anew"'),
    "stands in": (
        r"\b(stands?|lies?|lay|stood) (in|under|beside) (the (?!range|middle)|an? |its |their |`|\[)",
        "Its name stands in `labels.csv`.",
        "The name is in `labels.csv`.",
    ),
    "parted by": (r"\bparted by\b", "parted by commas", "separated by commas"),
    "blanks": (r"\bblanks?\b(?! line)", "take blanks away", "a blank line"),
    "without a word": (r"\bwithout a word\b", "fails without a word", "fails silently"),
    "goes on exactly": (r"\b(goes|go|went) on exactly\b", "it goes on exactly", "it resumes exactly"),
    "a word you do not know": (r"A word you do not know", "A word you do not know?", "Unfamiliar term?"),
    "a int": (r"\ba (int|ndarray|AlstmError|array|object|index)\b", "that is a int", "that is an int"),
    "rightly": (r"\b(set up|judges?) rightly\b", "set up rightly", "set up correctly"),
    "learnt by heart": (r"\bby heart\b", "learnt by heart", "memorised"),
    "the dearest": (r"\bdearest\b", "the dearest question", "the costliest question"),
    "for ever": (r"\bfor ever\b", "wait for ever", "wait forever"),
    "look whether": (r"\b[Ll]ooks? whether\b", "Look whether it fits.", "Check whether it fits."),
}


def sentences(path):
    """Yield each text of a file with its place: the cells of a notebook, or the lines of another file."""
    if path.suffix == ".ipynb":
        for cell in nbformat.read(path, as_version=4).cells:
            yield cell.id, cell.source
    else:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"line {number}", line


@pytest.mark.parametrize("habit", HABITS)
def test_every_pattern_finds_its_habit_and_nothing_else(habit):
    pattern, bad, good = HABITS[habit]
    assert re.search(pattern, bad) and not re.search(pattern, good)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_text_is_free_of_these_habits(path):
    faults = [
        f"{place}: {habit}: …{text[max(0, found.start() - 30) : found.end() + 20]}…"
        for place, text in sentences(path)
        for habit, (pattern, _, _) in HABITS.items()
        for found in re.finditer(pattern, text)
    ]
    assert not faults, "\n".join(faults)
