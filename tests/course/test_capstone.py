"""The capstone's checks: the folder that the notebook's second example makes passes, and spoilt ones are refused."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import nbformat
import pytest

from alstm_helpers import cli
from alstm_helpers.course.capstone import Quality, Results, choose_clips, make_clips, make_stripes, read_results
from alstm_helpers.course.exercises import chapter_10, find
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.files import read_sealed, write_json, write_sealed
from alstm_helpers.language import CHINESE
from alstm_helpers.tfrecord import read_videos, write_videos
from alstm_helpers.translation import translate_in

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "10_capstone.ipynb"
NAMES = ("ex-10-1", "ex-10-2", "ex-10-3")


def blocks(language):
    """Return the blocks of a language in the cell with the second example."""
    cells = {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}
    return re.findall(rf"```{language}\n(.*?)```", cells["second-example"], re.DOTALL)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The project that the commands and the report of the notebook's second example make."""
    project = tmp_path_factory.mktemp("capstone 项目")
    make_stripes(project / "clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        for line in blocks("bash")[0].splitlines():
            patch.setattr("sys.argv", shlex.split(line))
            cli.main()
    (project / "report.md").write_text(blocks("text")[0], encoding="utf-8")
    return project


@pytest.fixture
def project(example, tmp_path, monkeypatch):
    """A copy of the example to spoil; the server, which takes seconds, is replaced by its answer."""
    monkeypatch.setattr(chapter_10, "start_server", lambda *_: Server())
    monkeypatch.setattr(chapter_10, "_ask", lambda *_: ["level", "upright"])
    large = shutil.ignore_patterns("clips", "raw", "visualdl", "fold*", "model.*")
    return Path(shutil.copytree(example, tmp_path / "project", ignore=large))


class Server:
    def terminate(self):
        pass

    wait = terminate


def why(name, project):
    verdict = find(name).check(project, {})
    assert verdict.status in ("not yet", "correct")
    return verdict.why if verdict.status == "not yet" else "correct"


def test_the_second_example_passes_and_is_as_the_notebook_says(example, project):
    """`alstm course --answers` also asks the real server."""
    assert [why(name, str(project)) for name in NAMES] == ["correct"] * 3
    found = read_results(project)
    assert found == (20, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    low, high = read_sealed(example / "crossval" / "crossval.json", "")["difference"]["interval_95"]
    assert low <= 0 <= high


@pytest.mark.parametrize(
    "command, said", [(["crosval"], "'crosval'"), (["eval", "--config", "x.yaml"], "x.yaml: no such")]
)
def test_a_mistake_in_the_notebook_is_one_line(tmp_path, capsys, command, said):
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    names = {"project": tmp_path}
    exec(next(cell.source for cell in cells if cell.id == "run-command"), names)  # noqa: S102 (the course's own)
    names["alstm"](*command)
    shown = capsys.readouterr()
    assert shown.err == "" and len(shown.out.splitlines()) == 2
    assert shown.out.splitlines()[1].startswith("error: ") and said in shown.out


def test_a_page_of_results_in_chinese_is_read_by_any_check(project):
    page = project / "report.html"
    chinese = re.sub(r"(\(\d\.\d+) to (\d\.\d+\))", r"\1 到 \2", page.read_text("utf-8"))
    assert chinese.count(" 到 ") >= 2
    page.write_text(chinese, encoding="utf-8")
    assert why("ex-10-3", project) == "correct"


def change(name, **values):
    """Return what changes keys of a JSON file, as the package writes it."""

    def spoil(project):
        path = project / name
        known = json.loads(path.read_text("utf-8"))
        known.pop("digest", None)
        write = write_sealed if "digest" in path.read_text("utf-8") else write_json
        write(path, {**known, **values})

    return spoil


def replace(name, old, new, count=0):
    """Return what replaces text in a file, and drops the checksum beside it."""

    def spoil(project):
        path = project / name
        text = path.read_text("utf-8")
        assert re.search(old, text), text
        path.write_text(re.sub(old, new, text, count=count), encoding="utf-8")
        path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)

    return spoil


def no(name):
    return lambda project: (project / name).unlink()


def both_sides(project):
    shutil.copy(project / "data" / "train.list", project / "data" / "val.list")


def relabelled(project):
    """The labels of two clips are exchanged, and `alstm features` has run again: all sizes are the same."""
    shard = next((project / "data" / "tf" / "train").glob("*.tfrecord"))
    videos = list(read_videos(shard))
    labels = [video.labels for video in videos]
    write_videos(shard, (video._replace(labels=own) for video, own in zip(videos, labels[::-1], strict=True)))


def scored(change):
    """Return what changes the scores that `alstm crossval` kept."""

    def spoil(project):
        path = project / "crossval" / "scores.pkl"
        kept = Scored.load(path)
        dataclasses.replace(kept, **change(kept)).save(path)

    return spoil


def grouped(project):
    """`alstm features` was told later that the files belong together whose names end alike."""
    change("data/features.json", group="[0-9]$")(project)
    both = "is on both sides of the split, so validation judges what training has seen; split by recording"
    assert both in why("ex-10-1", project)


def ends_exchanged(project):
    page = project / "report.html"
    text = page.read_text("utf-8")
    page.write_text(re.sub(r"1\.000 <span class=soft>\(1\.000 to", "1.000 <span class=soft>(0.900 to", text), "utf-8")
    replace("report.md", "GAP: .*", "GAP: 1.00 (95 % interval 0.90 to 1.00)")(project)
    assert why("ex-10-3", project) == "correct"
    replace("report.md", "GAP: .*", "GAP: 0.99 (95 % interval 1.00 to 0.90)")(project)


def one_class_to_learn(project):
    """All clips of a class are in validation."""
    shards = [next((project / "data" / "tf" / side).glob("*.tfrecord")) for side in ("train", "val")]
    videos = [video for shard in shards for video in read_videos(shard)]
    for shard, label in zip(shards, (1, 0), strict=True):
        write_videos(shard, (video for video in videos if video.labels == (label,)))
        (project / "data" / f"{shard.parent.name}.list").write_text(f"{shard}\n", encoding="utf-8")


def only_training(project):
    (project / "labels" / "annotations.csv.sha256").unlink()
    with (project / "labels" / "annotations.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"more{number}.mp4,,,level\n" for number in range(5))


@pytest.mark.parametrize(
    "name, spoil, said",
    [
        (1, no("labels/annotations.csv"), "labels/annotations.csv: no such file; write it with `alstm labels import`"),
        (
            1,
            replace("labels/annotations.csv", r"(?m)^upright/\d.*\n", ""),
            "clips in labels/annotations.csv: 10; label at least 20",
        ),
        (
            1,
            replace("labels/annotations.csv", "(?m),upright$", ",level"),
            "classes in labels/annotations.csv: 1; there must be at least 2",
        ),
        (1, replace("labels/annotations.csv", "(?m),upright$", ",level", 6), "clips that show 'upright': 4; find"),
        (
            1,
            replace("labels/annotations.csv", "(?m),upright$", ",upright;level", 6),
            "clips that do not show 'level': 4; find at least 5",
        ),
        (1, one_class_to_learn, "no training clip shows 'level'; record the class at another place, or by another"),
        (
            1,
            replace("labels/annotations.csv", "(?m)^(upright/3.*),upright$", r"\1,level"),
            "3 has other labels now than in data; run `alstm features` again",
        ),
        (1, no("data/features.json"), "data/features.json: no such file; write it with `alstm features"),
        (1, no("data/val.list"), "data/val.list: no such file"),
        (1, only_training, "data has features of 20 clips, but 25 have labels"),
        (1, both_sides, "is on both sides of the split"),
        (2, no("run/run.json"), "run/run.json: no such file; write it with `alstm train"),
        (
            2,
            change("run/run.json", features_sha256="0"),
            "run learnt from other clips, labels or features than data has",
        ),
        (2, relabelled, "run learnt from other clips, labels or features than data has now; run `alstm train` again"),
        (
            2,
            scored(lambda kept: {"labels": ~kept.labels}),
            "crossval judges other clips or labels than data has now; run",
        ),
        (
            2,
            scored(lambda kept: {"ids": [b"a@%d" % number for number in range(len(kept.ids))]}),
            "crossval judges other clips or labels than data has now; run `alstm crossval` again",
        ),
        (2, grouped, "crossval has parts of one recording in different folds; run `alstm crossval` again"),
        (
            2,
            replace("crossval/config.yaml", "pooling: mean", "pooling: attention"),
            "crossval judges another network (MODEL) than run has; run `alstm crossval` again",
        ),
        (
            2,
            replace("crossval/config.yaml", "(?m)^  learning_rate: .*", "  learning_rate: 0.5"),
            "crossval has another TRAIN.learning_rate than run; run `alstm crossval` again",
        ),
        (
            2,
            change("crossval/crossval.json", features_sha256=64 * "0"),
            "crossval judges other features than data has now; run `alstm crossval` again",
        ),
        (2, change("evaluation/report.json", interval_95=None), "has no interval of the GAP; run `alstm eval` again"),
        (2, no("crossval/crossval.json"), "crossval/crossval.json: no such file; write it with `alstm crossval"),
        (
            2,
            replace("crossval/crossval.json", '"gap_mean": 1', '"gap_mean": 2'),
            "crossval/crossval.json: not readable",
        ),
        (2, change("crossval/crossval.json", folds=[{}, {}]), "folds in crossval/crossval.json: 2; use at least 3"),
        (2, change("crossval/crossval.json", baseline={}), "crossval/crossval.json has no baseline; run"),
        (2, change("crossval/crossval.json", pooled={"num_videos": 18}), "judges 18 clips, but data has 20; run it"),
        (2, no("evaluation/metrics.json"), "evaluation/metrics.json: no such file; write it with `alstm eval"),
        (2, change("evaluation/metrics.json", num_videos=20), "judges 20 clips, but data/val.list has 4; run"),
        (2, change("evaluation/report.json", interval_95={}), "has no interval of the GAP; run `alstm eval` again"),
        (
            2,
            change("evaluation/report.json", weights_sha256=64 * "0"),
            "judges weights that are not in run; run `alstm",
        ),
        (2, replace("evaluation/report.json", r"^\{", "["), "evaluation/report.json: not readable"),
        (3, no("export/export.json"), "export/export.json: no such file; write it with `alstm export"),
        (3, change("export/export.json", largest_difference=0.01), "names a difference of 0.01; export again"),
        (3, change("export/export.json", weights_sha256=64 * "0"), "is of other weights than evaluation/report.json"),
        (3, change("export/export.json", class_names=["a", "b"]), "has the classes ['a', 'b'], labels/labels.csv has"),
        (3, no("report.html"), "report.html: no such file; write it with `alstm report crossval"),
        (
            3,
            replace("report.html", ">GAP<", ">Gap<"),
            "report.html: it has no GAP of a network beside that of a linear",
        ),
        (3, replace("report.html", r"(>GAP</th><td>)1\.000", r"\g<1>0.900"), "its GAP is not that of crossval"),
        (
            3,
            replace("report.html", r"(>GAP</th><td>.*?</td><td>)1\.000", r"\g<1>0.900"),
            "its GAP is not that of crossval",
        ),
        (
            3,
            replace("report.md", "Baseline:", "GAP: 0.99 (0.98 to 1.00)\nBaseline:"),
            "several lines that begin with 'GAP:'",
        ),
        (
            3,
            replace("report.md", "Did not work: .*", "Did not work:"),
            "report.md has no line that begins with 'Did not work:' and goes on",
        ),
        (3, no("report.md"), "report.md: no such file; write one page"),
        (3, replace("report.md", "Baseline:", "Base:"), "report.md has no line that begins with 'Baseline:'"),
        (3, replace("report.md", "Baseline:", "<!--\nBaseline:"), "report.md has no line that begins with 'Baseline:'"),
        (3, replace("report.md", "Clips: 20", "Clips: 19"), "'Clips:' should say how many clips have labels: 20"),
        (3, replace("report.md", "GAP: .*", "GAP: 0.97, at most 0.99"), "'GAP:' should give the network's GAP and"),
        (3, ends_exchanged, "'GAP:' should give the network's GAP and both ends of its interval"),
        (3, replace("report.md", "Baseline: 1.00", "Baseline: 0.97"), "'Baseline:' should give the GAP of the linear"),
        (
            3,
            replace("report.md", "Baseline: .*", "Baseline: 1.00. Good."),
            "'Baseline:' should be a sentence: which of the two would you use, and why?",
        ),
        (3, replace("report.md", "Did not work: .*", "Did not work: nothing"), "'Did not work:' should be a sentence"),
        (
            3,
            replace("report.md", "Did not work: .*", "Did not work: " + 30 * "."),
            "'Did not work:' should be a sentence",
        ),
        (
            3,
            replace("report.md", "Did not work: .*", "Did not work: (What you tried that did not help!)"),
            "'Did not work:' should be a sentence",
        ),
        (
            3,
            replace("report.md", "Did not work: .*", "Did not work:\n\n## Thanks to all of my colleagues\n"),
            "report.md has no line that begins with 'Did not work:'",
        ),
        (2, change("crossval/crossval.json", baseline=None), "crossval/crossval.json has no baseline; run"),
        (3, replace("report.md", "Baseline: .*", "Baseline:"), "report.md has no line that begins with 'Baseline:'"),
    ],
)
def test_a_spoilt_project_is_refused_with_a_reason(project, name, spoil, said):
    spoil(project)
    found = why(f"ex-10-{name}", project)
    assert said in found and "\n" not in found and str(project) not in found


def test_a_model_that_cannot_be_served_is_refused(project, monkeypatch):
    monkeypatch.setattr(chapter_10, "_ask", lambda *_: ["see 3"])
    assert why("ex-10-3", project) == "the served model answers ['see 3'], not your classes"

    def fails(*_):
        raise AlstmError("port 1", "the server did not start", "run it by hand")

    monkeypatch.setattr(chapter_10, "start_server", fails)
    assert why("ex-10-3", project).startswith("`alstm serve export` does not start; run it in a terminal")


@pytest.mark.parametrize(
    "line",
    [
        "GAP: 0.86 (0.76 to 0.94)",
        "- **GAP:** 86.1 %, 76.4 % to 93.5 %",
        "gap: 0,861 [0,764; 0,935]",
        "> GAP: .861 0.861 0.764–0.935",
        "> GAP: .861 (.764 to .935)",
        "1. GAP : 86.1 % (95 % interval 76.4–93.5 %)",
        "GAP: 0.861 [0.764,0.935]",
        "GAP: 0.861 – 95 % interval 0.764 to 0.935",
        "## GAP: the network's\n\n0.861, from 0.764 to 0.935",
        "GAP：86.1％，区间 76.4％ 至 93.5％",
        "## GAP:\n\n0.861 on all clips,\nwith a 95 % interval from 0.764 to 0.935",
    ],
)
def test_numbers_may_be_written_in_many_ways(line):
    quality = Quality(0.861, 0.764, 0.935)
    said = chapter_10.statements(f"# Title\n\n{line}\n\nBaseline: 0.5\n")
    assert chapter_10._states(said["GAP"], quality) and said["Baseline"] == "0.5"
    absent = 0.99 if "95 %" in line else 0.95
    assert not chapter_10._states(said["GAP"], quality._replace(high=absent))


def test_a_list_may_follow_a_statement_but_no_other_paragraph():
    said = chapter_10.statements(
        "Did not work:\n\n- more epochs\n- dropout\n\nFeatures: clip\n\nBaseline:\n\nSeconds: 3\n"
    )
    assert said["Did not work"] == "- more epochs - dropout" and said["Baseline"] == ""
    assert chapter_10.statements("Baseline:\n0.5, simpler\n")["Baseline"] == "0.5, simpler"


@pytest.mark.parametrize("text", ["Clips: 1,024 clips", "Clips: 1 024", "Clips: 1.024", "Clips: 1024"])
def test_thousands_may_be_set_apart(text):
    quality = Quality(0.5, 0.5, 0.5)
    said = dict.fromkeys(chapter_10.STATEMENTS, "0.50 0.50 0.50, with more than enough letters") | {"Clips": text}
    found = [chapter_10._wrong_number(said, Results(clips, quality, quality), clips) for clips in (1024, 25)]
    assert found == ["", "'Clips:' should say how many clips have labels: 25"]


@pytest.mark.parametrize("language", ["en", CHINESE])
def test_what_the_brief_says_of_a_statement_is_known_in_each_language(language):
    """A learner who copies it has not answered."""
    notebook = NOTEBOOK.parent / ("" if language == "en" else language) / NOTEBOOK.name
    cells = {cell.id: cell.source for cell in nbformat.read(notebook, as_version=4).cells}
    brief = chapter_10.statements(cells["goals"].split("```")[1])
    translate = translate_in(language, chapter_10.__name__)
    for name, (asked, _) in chapter_10._ASKED.items():
        assert brief[name] == translate(asked)


def test_built_in_clips_are_made_once(tmp_path):
    folder = make_clips(tmp_path / "clips", count=1, seed=3)
    ((_, new),) = choose_clips(3, 1)
    assert (folder / "labels.csv").read_text("utf-8") == f"video,labels\nclip00.mp4,{';'.join(new)}\n"
    before = (folder / "clip00.mp4").stat()
    assert make_clips(folder, count=5) == folder and (folder / "clip00.mp4").stat() == before
    assert len(list(folder.iterdir())) == 2
