"""The capstone of notebook 10: three checks of the files in a learner's project, and a worked example that passes."""

from __future__ import annotations

import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alstm_helpers.config import load_config
from alstm_helpers.course.capstone import Quality, Results, read_crossval, read_results, read_split
from alstm_helpers.course.exercises.answers import NotYet, a_type
from alstm_helpers.course.exercises.core import Exercise, Judge, Notebook, always
from alstm_helpers.data.class_names import read_classes
from alstm_helpers.data.feature_scale import content_of
from alstm_helpers.data.lists import group_of
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.files import checksum, read_sealed, read_text, require_file
from alstm_helpers.loopback import HOST, free_port, start_server
from alstm_helpers.own_videos.feature_folder import FeatureFolder, grouping_in
from alstm_helpers.own_videos.jobs import Division, labelled_jobs
from alstm_helpers.own_videos.labels import read_imported
from alstm_helpers.tfrecord import Video

FEWEST_CLIPS, FEWEST_CLASSES, FEWEST_PER_CLASS, FEWEST_FOLDS = 20, 2, 5, 3
LARGEST_DIFFERENCE = 1e-5
_LEARNING = ("epoch", "batch_size", "learning_rate", "weight_decay", "class_weights")  # what the network learns by
ROUNDED = 0.0051  # a report may state two decimals
STATEMENTS = ("Clips", "GAP", "Baseline", "Did not work")
_WRITTEN = 20  # bytes of the letters of a sentence that says something, in any script
_ASKED = {  # what the brief says of a statement that must be more than a number, and what that asks
    "Baseline": ("its GAP, which of the two you would use, and why", "which of the two would you use, and why?"),
    "Did not work": ("what you tried that did not help", "what did you try that did not help?"),
}
_BEGINS = re.compile(rf"[\s>*#_-]*(?:\d+[.)]\s*[*_]*)?({'|'.join(STATEMENTS)})[*_]*\s*[:：]", re.IGNORECASE)
# A percentage that leads to another, of which only the second one says so.
_RANGE = re.compile(r"(?<![\d.,])((?:[2-9]|\d\d+)(?:[.,]\d+)?)\s*(?:-|–|—|to|至|到)\s*(?=[\d.,]+\s*(?:%|％|percent))")
_THOUSANDS = re.compile(r"(?<=\d)[ ,.](?=\d{3}\b)")
_ITEM = re.compile(r"\s*([-*+]|\d+[.)])(\s|$)|\s*$")  # of a list, or nothing
_A_NUMBER = re.compile(r"(\d+(?:[.,]\d+)?|(?<!\d)[.,]\d+)(\s*(?:%|％|percent))?")

Find = Callable[[Path], str]  # returns what is wrong with a project, or an empty text


def judges(*steps: Find) -> Judge:
    """Return a judge of a project's folder: the first thing that a step finds wrong; files are named from there."""

    def judge(answer: object, notebook: Notebook, exercise: Exercise) -> str:
        project = _folder(answer)
        try:
            return next(filter(None, (step(project) for step in steps)), "")
        except AlstmError as error:
            return str(error).replace(f"{project}{os.sep}", "").replace(os.sep, "/")

    return judge


def _folder(answer: object) -> Path:
    if not isinstance(answer, str | os.PathLike):
        raise NotYet(f"that is {a_type(answer)}; give the path of your project's folder")
    try:
        folder = Path(answer).expanduser()
    except RuntimeError:  # nobody has that name
        folder = Path(answer)
    if not os.fspath(answer) or not folder.is_dir():
        raise NotYet(f"there is no folder {os.fspath(answer)!r}; give the path of your project's folder")
    return folder.resolve()


def _json(path: Path, remedy: str) -> dict[str, Any]:
    """Return a JSON object of the project; raise AlstmError if it is missing or no object."""
    try:
        found = json.loads(read_text(require_file(path, remedy)))
    except ValueError as error:
        raise AlstmError(path, f"not readable ({error})", remedy) from None
    if not isinstance(found, dict):
        raise AlstmError(path, "not a JSON object", remedy)
    return found


# --- 10.1: clips, labels, features --------------------------------------------------------------------------------


def fault_of_labels(project: Path) -> str:
    """Require enough clips with labels, and enough of each class."""
    annotations = read_imported(project / "labels")
    if len(annotations) < FEWEST_CLIPS:
        return f"clips in labels/annotations.csv: {len(annotations)}; label at least {FEWEST_CLIPS}"
    counts = Counter(label for annotation in annotations for label in annotation.labels)
    if len(counts) < FEWEST_CLASSES:
        return f"classes in labels/annotations.csv: {len(counts)}; there must be at least {FEWEST_CLASSES}"
    rarest, count = min(counts.items(), key=lambda item: item[1])
    if count < FEWEST_PER_CLASS:
        return f"clips that show {rarest!r}: {count}; find at least {FEWEST_PER_CLASS}, or drop the class"
    commonest, count = max(counts.items(), key=lambda item: item[1])
    if count > len(annotations) - FEWEST_PER_CLASS:
        return f"clips that do not show {commonest!r}: {len(annotations) - count}; find at least {FEWEST_PER_CLASS}"
    return ""


def fault_of_features(project: Path) -> str:
    """Require features of nearly all clips, in two splits that share no recording."""
    remedy = "write it with `alstm features CLIPS --labels labels --backbone … --out data`"
    read_sealed(project / "data" / "features.json", remedy)
    train, val = (read_split(project, split) for split in ("train", "val"))
    labelled = len(read_imported(project / "labels"))
    if len(train) + len(val) < 0.9 * labelled:
        return f"data has features of {len(train) + len(val)} clips, but {labelled} have labels; see what failed"
    pattern = grouping_in(project / "data")
    shared = set.intersection(*({group_of(video.id, pattern) for video in videos} for videos in (train, val)))
    if shared:
        name = min(shared).decode(errors="replace")
        return f"{name} is on both sides of the split, so validation judges what training has seen; split by recording"
    learnt = {label for video in train for label in video.labels}
    for name, number in read_classes(project / "data" / "labels.csv").items():
        if number not in learnt:
            return f"no training clip shows {name!r}; record the class at another place, or by another person, too"
    return _relabelled(project, [*train, *val])


def _relabelled(project: Path, videos: Iterable[Video]) -> str:
    """Return a clip whose labels have changed since its features were made."""
    known = {video.name: set(video.labels) for video in videos}
    data, annotations = FeatureFolder(project / "data"), read_imported(project / "labels")
    classes, ids = read_classes(data.path / "labels.csv"), data.ids()
    jobs, _ = labelled_jobs(map(Path, ids), annotations, classes, Division(ids=ids))
    changed = [job.id for job in jobs if known.get(job.id, set(job.labels)) != set(job.labels)]
    return f"{changed[0]} has other labels now than in data; run `alstm features` again" if changed else ""


# --- 10.2: trained and judged -------------------------------------------------------------------------------------


def fault_of_crossval(project: Path) -> str:
    """Require a cross-validation of all clips of the project, with the baseline on the same folds."""
    found = read_crossval(project)
    folds, judged = len(found["folds"]), int(found["pooled"]["num_videos"])
    if folds < FEWEST_FOLDS:
        return f"folds in crossval/crossval.json: {folds}; use at least {FEWEST_FOLDS}"
    if "gap" not in (found.get("baseline") or {}).get("pooled", {}):
        return "crossval/crossval.json has no baseline; run `alstm crossval` again"
    videos = [*read_split(project, "train"), *read_split(project, "val")]
    if judged != len(videos):
        return f"crossval/crossval.json judges {judged} clips, but data has {len(videos)}; run it again"
    return _other_crossval(project, videos, found.get("features_sha256"))


def _other_crossval(project: Path, videos: Sequence[Video], features_sha256: str | None) -> str:
    """Return in what a cross-validation of some features is not that of a project, if in anything."""
    again = "run `alstm crossval` again"
    scored, pattern = Scored.load(project / "crossval" / "scores.pkl"), grouping_in(project / "data")
    labels = {name: np.flatnonzero(row).tolist() for name, row in zip(scored.ids, scored.labels, strict=True)}
    if labels != {video.id: sorted(video.labels) for video in videos}:
        return f"crossval judges other clips or labels than data has now; {again}"
    assert scored.folds is not None  # of a cross-validation
    places = {(group_of(name, pattern), fold) for name, fold in zip(scored.ids, scored.folds.tolist(), strict=True)}
    if len(places) > len({group for group, _ in places}):
        return f"crossval has parts of one recording in different folds; {again}"
    if features_sha256 != content_of(project / "data"):
        return f"crossval judges other features than data has now; {again}"
    judged, trained = (load_config(project / name / "config.yaml") for name in ("crossval", "run"))
    if judged.MODEL != trained.MODEL:
        return f"crossval judges another network (MODEL) than run has; {again}"
    differ = [key for key in _LEARNING if getattr(judged.TRAIN, key) != getattr(trained.TRAIN, key)]
    return f"crossval has another TRAIN.{differ[0]} than run; {again}" if differ else ""


def fault_of_training(project: Path) -> str:
    """Require a training that learnt from the features as they are in ``data``."""
    remedy = "write it with `alstm train --config data/own.yaml --save_dir run`"
    if _json(project / "run" / "run.json", remedy).get("features_sha256") != content_of(project / "data"):
        return "run learnt from other clips, labels or features than data has now; run `alstm train` again"
    return ""


def fault_of_metrics(project: Path) -> str:
    """Require the metrics of the trained weights on the validation clips, with intervals."""
    remedy = "write it with `alstm eval --config data/own.yaml --weights … --save_dir evaluation`"
    metrics = _json(project / "evaluation" / "metrics.json", remedy)
    details = _json(project / "evaluation" / "report.json", remedy)
    val, pattern = read_split(project, "val"), grouping_in(project / "data")
    judged, there = metrics.get("num_videos"), len(val)
    if judged != there:
        return f"evaluation/metrics.json judges {judged} clips, but data/val.list has {there}; run `alstm eval` again"
    one_group = len({group_of(video.id, pattern) for video in val}) == 1  # of which no other sample can be drawn
    if "gap" not in metrics or not (one_group or "gap" in (details.get("interval_95") or {})):
        return "evaluation/report.json has no interval of the GAP; run `alstm eval` again, with resamples"
    if details.get("weights_sha256") not in {checksum(path, "sha256") for path in (project / "run").glob("*.pdparams")}:
        return "evaluation/report.json judges weights that are not in run; run `alstm eval` again, with those"
    return ""


# --- 10.3: exported, served, reported -----------------------------------------------------------------------------


def fault_of_export(project: Path) -> str:
    """Require an export that agrees with the network that was judged, and has the project's classes."""
    remedy = "write it with `alstm export --config data/own.yaml --weights … --out export`"
    found = read_sealed(project / "export" / "export.json", remedy)
    if not found.get("largest_difference", 1.0) <= LARGEST_DIFFERENCE:
        return f"export/export.json names a difference of {found.get('largest_difference')}; export again"
    judged = _json(project / "evaluation" / "report.json", "run `alstm eval` first").get("weights_sha256")
    if found.get("weights_sha256") != judged:
        return "export/export.json is of other weights than evaluation/report.json judges; export those"
    classes = sorted(read_classes(project / "labels" / "labels.csv"))
    if sorted(found.get("class_names") or []) != classes:
        return f"export/export.json has the classes {found.get('class_names')}, labels/labels.csv has {classes}"
    return ""


def fault_of_service(project: Path) -> str:
    """Serve the export on this machine for a moment, and require labels of a validation clip."""
    video, port = read_split(project, "val")[0], free_port()
    try:
        arguments = ["-m", "alstm_helpers", "serve", str(project / "export"), "--port", str(port)]
        server = start_server(arguments, port)
    except AlstmError:
        return "`alstm serve export` does not start; run it in a terminal and read what it says"
    try:
        labels = _ask(f"http://{HOST}:{port}/predict", video)
    finally:
        server.terminate()
        server.wait()
    known = read_classes(project / "labels" / "labels.csv")
    return "" if labels and set(labels) <= set(known) else f"the served model answers {labels}, not your classes"


def _ask(address: str, video: Video) -> list[str]:
    """Return the labels that a server gives a video, best first; none if it gives none."""
    import requests

    body = io.BytesIO()
    np.savez(body, rgb=video.rgb, audio=video.audio)
    reply = requests.post(address, data=body.getvalue(), timeout=30)
    return [label["name"] for label in reply.json().get("labels", [])] if reply.ok else []


def fault_of_report(project: Path) -> str:
    """Require the four statements of ``report.md``, with the numbers of the project."""
    text = read_text(require_file(project / "report.md", "write one page, see the brief"), "save it as UTF-8")
    text = re.sub("<!--.*?(-->|$)", "", text, flags=re.DOTALL)  # a reader sees no comment
    if name := _repeated(text):
        return f"report.md has several lines that begin with '{name}:'; keep one"
    said = statements(text)
    for name, statement in said.items():
        if not statement:
            return f"report.md has no line that begins with '{name}:' and goes on"
    return _wrong_number(said, read_results(project), int(read_crossval(project)["pooled"]["num_videos"]))


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text)).lower()


def statements(text: str) -> dict[str, str]:
    """Return what a report says after each name of ``STATEMENTS`` and a colon, whatever Markdown marks the line with.

    A statement ends where the next one, another heading or a table begins; and at a blank line, if it is no heading
    itself and no list follows. Nothing is an empty text.
    """
    said, current, heads, apart = dict.fromkeys(STATEMENTS, ""), "", False, False
    for line in text.splitlines():
        if begins := _BEGINS.match(line):
            current = next((name for name in STATEMENTS if name.lower() == begins[1].lower() and not said[name]), "")
            heads, line = line.lstrip().startswith("#"), line[begins.end() :]
        else:
            ends = not line.strip() if said.get(current) else apart and not _ITEM.match(line)
            if line.lstrip().startswith(("#", "|")) or (ends and not heads):
                current = ""
        if current:
            said[current] = f"{said[current]} {line.strip(' *_>')}".strip()
        apart = not line.strip() and not begins
    return said


def _repeated(text: str) -> str:
    """Return the name of a statement that is made twice, as only one of them is read; nothing if none is."""
    begins = (_BEGINS.match(line) for line in text.splitlines())
    made = Counter(found[1].lower() for found in begins if found and found.string[found.end() :].strip(" *_"))
    return next((name for name in STATEMENTS if made[name.lower()] > 1), "")


def _wrong_number(said: dict[str, str], results: Results, judged: int) -> str:
    """Return which statement lacks a number that the files of the project have, with so many clips judged."""
    whole = _THOUSANDS.sub("", said["Clips"])
    if not {results.clips, judged} & {*_numbers(said["Clips"]), *_numbers(whole)}:
        return f"'Clips:' should say how many clips have labels: {results.clips}"
    if not _states(said["GAP"], results.network) or not _in_order(said["GAP"], *results.network[1:]):
        return "'GAP:' should give the network's GAP and both ends of its interval, as in report.html"
    if not _states(said["Baseline"], results.baseline[:1]):
        return "'Baseline:' should give the GAP of the linear baseline, as in report.html"
    for name, (brief, question) in _ASKED.items():
        letters = _letters(said[name])
        if len(letters.encode()) < _WRITTEN or letters == _letters(brief):
            return f"'{name}:' should be a sentence: {question}"
    return ""


def _numbers(text: str) -> list[float]:
    """Return the numbers in a text; 86 % is 0.86, as is that of 86–90 %, and a comma may be the decimal mark."""
    found = _A_NUMBER.findall(_RANGE.sub(r"\1 % ", text))
    return [float(number.replace(",", ".")) / (100 if percent else 1) for number, percent in found]


def _states(text: str, wanted: Quality | Sequence[float]) -> bool:
    """Tell whether a text has all of some numbers, rounded to two decimals or better."""
    found = _numbers(text)
    return all(any(abs(number - value) <= ROUNDED for number in found) for value in wanted)


def _in_order(text: str, low: float, high: float) -> bool:
    """Tell whether a lower end comes before an upper one."""
    found = _numbers(text)
    first, last = ([place for place, number in enumerate(found) if abs(number - end) <= ROUNDED] for end in (low, high))
    return bool(first and last) and first[0] <= last[-1]


# --- the exercises ------------------------------------------------------------------------------------------------

NO_PROJECT = (
    (always(20), "that is an int; give the path of your project's folder"),
    (always("nowhere"), "there is no folder 'nowhere'; give the path of your project's folder"),
)
_NOT_MINE = always(Path(__file__).parent)  # a folder without a project


EXERCISES = [
    Exercise(
        "ex-10-1",
        judges(fault_of_labels, fault_of_features),
        hints=(
            "No clips? make_clips(project / 'clips') of alstm_helpers.course.capstone writes 20 and a table of labels.",
            "Two commands: alstm labels import, then alstm features. Notebook 09 has both.",
            "The folders must be called labels and data; --out names them.",
        ),
        solution="""\
from alstm_helpers.course.capstone import make_clips

clips = make_clips(project / "clips", seed=SEED)
alstm("labels", "import", clips / "labels.csv", "--out", project / "labels")
alstm("features", clips, "--labels", project / "labels", "--backbone", "flashdigits", "--out", project / "data")
answer = project""",
        note="Labels, features, and a split that shares no recording, as far as --group names them.",
        mistakes=(
            *NO_PROJECT,
            (_NOT_MINE, "labels/annotations.csv: no such file; write it with `alstm labels import`"),
        ),
        right=(),
    ),
    Exercise(
        "ex-10-2",
        judges(fault_of_training, fault_of_crossval, fault_of_metrics),
        hints=(
            "Three commands: alstm train, alstm crossval, alstm eval. data/own.yaml is their configuration.",
            "--save_dir names the folders: run, crossval, evaluation.",
            "Too slow? -o TRAIN.epoch=12, and --folds 3.",
        ),
        solution="""\
config = ("--config", project / "data" / "own.yaml", "-o", "TRAIN.epoch=12", "-o", "TRAIN.patience=null")
alstm("train", *config, "--save_dir", project / "run", "--fix_random_seed", True, "--log_interval", 0)
alstm("crossval", *config, "--save_dir", project / "crossval", "--folds", 3)
last = ("--weights", project / "run" / "AttentionLSTM_latest.pdparams")  # as in each fold of crossval
alstm("eval", *config, *last, "--save_dir", project / "evaluation")
answer = project""",
        note="Every clip was judged by a network that has not seen it, beside the baseline.",
        mistakes=(
            *NO_PROJECT,
            (
                _NOT_MINE,
                "run/run.json: no such file; write it with `alstm train --config data/own.yaml --save_dir run`",
            ),
        ),
        right=(),
    ),
    Exercise(
        "ex-10-3",
        judges(fault_of_export, fault_of_service, fault_of_report),
        hints=(
            "alstm export, then alstm report crossval --out report.html; report.md is yours to write.",
            "The table 'What it reaches' in report.html has both GAPs, and the interval in brackets.",
            "report.md needs four lines that begin with Clips:, GAP:, Baseline: and Did not work:",
        ),
        solution="""\
import json

from alstm_helpers.course.capstone import choose_clips, make_clips, read_crossval, read_results
from alstm_helpers.evaluation.explain import strongest_second

alstm("export", *config, *last, "--out", project / "export")
alstm("report", project / "crossval", "--out", project / "report.html")
unseen = make_clips(project / "unseen", count=3, seed=SEED + 1)
alstm("predict", *sorted(unseen.glob("*.mp4")), *last, "--save_dir", project / "unseen")

seconds, right = "", 0
for number, (_, new) in enumerate(choose_clips(SEED + 1, count=3)):
    best = json.loads((project / "unseen" / f"clip0{number}.json").read_text("utf-8"))["labels"][0]
    (stream, second), begins = strongest_second(best), new.get(best["name"])
    right += begins is not None and begins <= second <= begins + 1
    truth = "is not there" if begins is None else f"begins in second {begins}"
    seconds += f"- {best['name']} {best['score']:.2f}, most by second {second} of {stream}; it {truth}\\n"
difference = read_crossval(project)["difference"]
least, most = difference["interval_95"]
choice = "network, which names the second, too" if right == 3 and most >= 0 else "baseline, which is simpler"
log = map(json.loads, (project / "run" / "train.jsonl").read_text("utf-8").splitlines())
epochs = [row["gap"] for row in log if row["kind"] == "valid"]
found = read_results(project)
gap, low, high = found.network
(project / "report.md").write_text(f\"\"\"# Crosses and sirens

Clips: {found.clips}, made by the course. A cross is a bright plus in the picture, a siren a tone that rises; some clips
have neither. The program that made them labelled them, so no label is in doubt.

Features: flashdigits, made for such clips. It sees eight by eight grey squares and hears pitch: no colour, no detail.

GAP: {gap:.2f} (95 % interval {low:.2f} to {high:.2f}); no clip is judged by a network that has seen it.

Baseline: {found.baseline.gap:.2f}. The network's GAP differs by {difference["gap"]:+.2f} (95 % interval {least:+.2f} to
{most:+.2f}), so I would use the {choice}.

Seconds: of three clips that nothing has learnt from, {right} right. A person sees or hears it for two seconds.
{seconds}
Not for: clips of a camera. All clips here come from one program.

Did not work: an epoch chosen by the few validation clips of one split. Their GAP is {max(epochs):.2f} after epoch
{epochs.index(max(epochs)) + 1} and {epochs[-1]:.2f} after the last one, which is served, as crossval judges it.
\"\"\", encoding="utf-8")
answer = project""",
        note="The model answers on this machine, and the report says what it is worth.",
        mistakes=(
            *NO_PROJECT,
            (
                _NOT_MINE,
                "export/export.json: no such file;"
                " write it with `alstm export --config data/own.yaml --weights … --out export`",
            ),
        ),
        right=(),
    ),
]
