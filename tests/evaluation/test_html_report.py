"""The page of results: what it says, that it is whole and harmless, and the command that makes it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import window
from support import changed, write_list

from alstm_helpers.config import save_config
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation import html_report, report
from alstm_helpers.evaluation.baseline import no_skill_gap
from alstm_helpers.evaluation.calibration import across_folds, quality, reliability
from alstm_helpers.evaluation.html_report import CLIPS, PageOptions, report_page
from alstm_helpers.evaluation.intervals import bootstrap_intervals, difference, verdict
from alstm_helpers.evaluation.scored import Scored
from alstm_helpers.files import write_sealed
from alstm_helpers.model.build import build_model
from alstm_helpers.model.weights import save_weights
from alstm_helpers.own_videos.feature_folder import RawFolder
from alstm_helpers.own_videos.thumbnails import Thumbnail
from alstm_helpers.paths import RunFolder
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import save_plain
from alstm_helpers.tfrecord import STREAM_DIMS


@dataclass(frozen=True)
class Picture:
    second: int
    jpeg: bytes = b"\xff\xd8\xff"


def some(count=40, classes=4, seed=0):
    """Return scores of a network that is right more often than not, in four folds, and of a baseline."""
    rng = np.random.default_rng(seed)
    labels = np.eye(classes, dtype=bool)[np.arange(count) % classes]
    scores, baseline = (np.clip(rng.random(labels.shape) + 0.4 * labels, 0, 1).astype(np.float32) for _ in range(2))
    ids = [b"v%02d" % row for row in range(count)]
    return Scored(ids, labels, scores, 20, ids, np.arange(count) // classes % 4, baseline)


NAMES = {0: "cat", 1: "dog & <b>", 2: "牛"}
OPTIONS = PageOptions("Results of own/crossval", "How.", NAMES)
PAGE = report_page(some(), OPTIONS)


class Seen(HTMLParser):
    """The elements of a page, which must close, and its text by section."""

    VOID = ("meta", "img")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def section_of(page, title):
    [found] = re.findall(rf"<section>\n<h2>{title}</h2>(.*?)</section>", page, re.S)
    return found


def rows_of(part):
    """Return the cells of the bodies of tables as text."""
    body = re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", part, re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in body]
    return [[unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in cells]


def cards_of(part):
    return re.findall(r"<li>(.*?)</li>", part, re.S)


def test_it_says_what_is_reached_beside_the_baseline():
    scored = some()
    rows = {name: cells for name, *cells in rows_of(section_of(PAGE, "What it reaches"))}
    for number, metrics in enumerate((scored.metrics, scored.baseline_metrics)):
        assert metrics and rows["GAP"][number].startswith(f"{metrics.gap():.3f} (0.")
        assert rows["Hit@1"][number].startswith(f"{metrics.hit_at_1():.3f} (0.")
    for seed in (0, 5):  # that of the run, whose crossval.json has the same interval
        said = verdict(difference(scored.metrics, scored.baseline_metrics, scored.groups, seed))
        page = report_page(scored, replace(OPTIONS, seed=seed))
        assert said[1:] in unescape(section_of(page, "What it reaches"))
    assert "40 videos with labels of 4 classes. How." in PAGE
    assert f"By the frequencies of the classes alone, GAP is {no_skill_gap(scored.labels, 20):.3f}." in PAGE


def test_what_is_missing_is_said():
    page = report_page(replace(some(), folds=None, baseline=None), OPTIONS)
    assert "There is no linear baseline to compare with" in page and "There is no calibration: " in page
    assert page.count("There are no thumbnails of these videos") == 2
    assert [row[0] for row in rows_of(section_of(page, "Calibration"))] == ["before calibration"]
    assert len(rows_of(section_of(page, "What it reaches"))[0]) == 2


def test_confusion_by_hand():
    """The last two have two labels: right by the second of them, and wrong, which counts in both rows."""
    labels = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1]], bool)
    scores = np.array([[9, 1, 1], [1, 9, 1], [1, 9, 1], [1, 9, 1], [1, 9, 1]], np.float32) / 10
    ids = [b"%d" % row for row in range(5)]
    page = report_page(Scored(ids, labels, scores, 20, ids), PageOptions("t", ""))
    assert rows_of(section_of(page, "What it confuses")) == [
        ["class 0", "1", "2", "0"],
        ["class 1", "0", "2", "0"],
        ["class 2", "0", "1", "0"],
    ]

    part = section_of(page, "What it confuses")
    assert re.findall("<span>(.*?)</span>", part) == ["class 0", "class 1", "class 2"]
    assert re.findall(r"--share: (.*?)\">(.)<", part) == [("0.33", "1"), ("0.67", "2"), ("1.00", "2"), ("1.00", "1")]


def test_a_class_that_is_only_predicted_is_among_those_confused():
    scored = Scored([b"a"], np.array([[True, False]]), np.array([[0.1, 0.9]], np.float32), 2, [b"a"])
    rows = rows_of(section_of(report_page(scored, PageOptions("t", "")), "What it confuses"))
    assert rows == [["class 0", "0", "1"], ["class 1", "0", "0"]]


@pytest.mark.parametrize("classes, cells", [(30, 31), (31, 3)])
def test_up_to_thirty_classes_are_a_matrix_and_of_more_twenty_pairs_are_shown(classes, cells):
    labels = np.eye(classes, dtype=bool)
    ids = [b"%02d" % row for row in range(classes)]
    scored = Scored(ids, labels, np.roll(labels, 1, axis=1).astype(np.float32), 2, ids)
    rows = rows_of(section_of(report_page(scored, PageOptions("t", "")), "What it confuses"))
    assert {len(row) for row in rows} == {cells} and len(rows) == (30 if cells == 31 else 20)


def test_of_many_classes_the_most_confused_pairs_are_shown():
    labels = np.eye(40, dtype=bool)[np.arange(80) % 40]
    scores = labels * np.float32(0.8)
    scores[[3, 43, 7]] = np.eye(40, dtype=np.float32)[[5, 5, 8]]
    ids = [b"%d" % row for row in range(80)]
    page = report_page(Scored(ids, labels, scores, 20, ids), PageOptions("t", ""))
    assert rows_of(section_of(page, "What it confuses")) == [["class 3", "class 5", "2"], ["class 7", "class 8", "1"]]


def test_intervals_are_those_of_either_method_over_groups():
    scored = replace(some(), groups=[b"%d" % (row // 8) for row in range(40)])
    said = section_of(report_page(scored, OPTIONS), "What it reaches")
    rows = {name: cells for name, *cells in rows_of(said)}
    for number, metrics in enumerate((scored.metrics, scored.baseline_metrics)):
        low, high = bootstrap_intervals(metrics, 200, groups=scored.groups)["gap"]
        assert rows["GAP"][number] == f"{metrics.gap():.3f} ({low:.3f} to {high:.3f})"
    assert verdict(difference(scored.metrics, scored.baseline_metrics, scored.groups, 0))[1:] in unescape(said)


def test_of_many_classes_that_occur_the_lowest_are_shown(monkeypatch):
    """The first class has no video; that of an empty name has a number."""
    monkeypatch.setattr(html_report, "MOST_ROWS", 3)
    given = some()
    labels, scores = (np.pad(values, ((0, 0), (1, 0))) for values in (given.labels, given.scores))
    scored = replace(given, labels=labels, scores=scores, baseline=None)
    page = report_page(scored, replace(OPTIONS, names={2: ""}))
    lowest = sorted(range(1, 5), key=lambda index: scored.metrics.class_ap()[index])
    part = section_of(page, "Classes")
    assert [row[0] for row in rows_of(part)] == [f"class {index}" for index in lowest[:3]]
    assert "The other 1 classes are higher." in part and "40 videos with labels of 4 classes" in page
    assert "The other" not in PAGE


def test_the_dot_and_the_line_of_a_class_are_where_its_numbers_say():
    part = section_of(PAGE, "Classes")
    drawn = re.findall(r'class="range" x1="(.*?)" x2="(.*?)".*?cx="(.*?)"', part)
    for (_, _, ap, interval, *_), places in zip(rows_of(part), drawn, strict=True):
        numbers = [100 * float(number) for number in (*interval.split(" to "), ap)]
        assert [float(place) for place in places] == pytest.approx(numbers, abs=0.11)


def test_each_class_has_its_ap_its_interval_and_the_baseline_s():
    scored = some()
    rows = rows_of(section_of(PAGE, "Classes"))
    ap = scored.metrics.class_ap()
    assert [row[0] for row in rows] == [NAMES.get(index, f"class {index}") for index in np.argsort(ap).tolist()]
    by_name = {row[0]: row[1:] for row in rows}
    for index, name in NAMES.items():
        videos, found, interval, baseline, _ = by_name[name]
        low, high = map(float, interval.split(" to "))
        assert (videos, found) == ("10", f"{ap[index]:.3f}") and low < ap[index] < high
        assert scored.baseline_metrics and baseline == f"{scored.baseline_metrics.class_ap()[index]:.3f}"


def test_the_interval_of_a_class_is_over_groups():
    """Where all videos are one group there is no other sample."""
    scored = replace(some(), groups=[b"same"] * 40, baseline=None)
    for row in rows_of(section_of(report_page(scored, OPTIONS), "Classes")):
        assert row[3] == f"{row[2]} to {row[2]}"


def test_the_clips_are_those_surely_wrong_and_those_uncertain():
    scored = some()
    best, sure = scored.scores.argmax(1), scored.scores.max(1)
    wrong = [row for row in np.argsort(-sure, kind="stable").tolist() if not scored.labels[row, best[row]]]
    unsure = np.argsort(sure, kind="stable").tolist()
    for title, rows in (("Surely wrong", wrong), ("Most uncertain", unsure)):
        cards = cards_of(section_of(PAGE, title))
        names = re.findall("<h3>(.*)</h3>", "\n".join(cards))
        assert names == [f"v{row:02d}" for row in rows[:CLIPS]] and len(names) <= 12
        assert all(len(re.findall(r" [01]\.\d{3}", re.findall("predicted: (.*?)</p>", card)[0])) == 3 for card in cards)
        row = rows[0]
        true, predicted = (NAMES.get(index, f"class {index}") for index in (row % 4, int(best[row])))
        shown = unescape(cards[0])
        assert f"true: <strong>{true}</strong>" in shown and f"predicted: {predicted} {sure[row]:.3f}, " in shown
        assert f"the best one calibrated: {across_folds(scored)[row, best[row]]:.3f}" in shown
    assert f"Of 40 videos the best label of {len(wrong)} is wrong" in PAGE and "without a label" not in PAGE


def test_a_video_without_labels_is_wrong_only_where_a_label_is_claimed():
    """No best label is right for it, so Hit@1 cannot be 1."""
    scored = some()
    labels, scores = scored.labels.copy(), scored.scores.copy()
    labels[:2], scores[0], scores[1] = False, 0.49, 0.9
    page = report_page(replace(scored, labels=labels, scores=scores), OPTIONS)
    names = re.findall("<h3>(.*)</h3>", section_of(page, "Surely wrong"))
    assert "v00" not in names and "v01" in names
    assert "Videos without a label: 2; so Hit@1 is at most 0.950." in section_of(page, "What it reaches")


def test_thumbnails_are_spread_over_the_clip():
    seen = []

    def find(video_id):
        seen.append(video_id)
        return [Picture(second) for second in range(12)] if video_id != "v00" else []

    page = report_page(some(), replace(OPTIONS, thumbnails=find))
    pictures = Seen(page).attributes("img")
    assert [picture["alt"] for picture in pictures[:4]] == [f"{seen[0]}, second {at}" for at in (0, 3, 7, 11)]
    assert all(picture["src"] == "data:image/jpeg;base64,/9j/" for picture in pictures)
    assert len(pictures) == 4 * sum(name != "v00" for name in seen) and "There are no thumbnails" not in page


def test_clips_that_are_as_sure_are_in_the_order_of_their_ids():
    ids = [b"b", b"a", b"c"]
    scored = Scored(ids, np.eye(2, dtype=bool)[[1, 1, 1]], np.full((3, 2), 0.5, np.float32), 2, ids)
    page = report_page(scored, replace(OPTIONS, thumbnails=lambda name: [Picture(0), Picture(9)]))
    for title in ("Surely wrong", "Most uncertain"):
        cards = cards_of(section_of(page, title))
        assert re.findall("<h3>(.*)</h3>", "\n".join(cards)) == ["a", "b", "c"]
        assert all(card.count("<img") == 2 for card in cards)  # as many as there are


def test_calibration_before_and_after():
    scored = some()
    parts = (scored.scores, across_folds(scored))
    for row, scores in zip(rows_of(section_of(PAGE, "Calibration")), parts, strict=True):
        found = quality(scores, scored.labels)
        assert row[1:] == [f"{found['calibration_error']:.3f}", f"{found['log_loss']:.3f}"]
    assert all(f'<polyline class="{kind}"' in PAGE for kind in ("before", "after"))
    assert PAGE.count("<polyline") == 2


def test_the_curve_has_a_dot_for_each_range_as_large_as_its_share_of_the_videos():
    """Its area; below left is (0, 0). What is seen is said in words, too."""
    scored, part = some(), section_of(PAGE, "Calibration")
    for kind, scores in (("before", scored.scores), ("after", across_folds(scored))):
        bins = reliability(scores, scored.labels)
        dots = re.findall(rf'<circle class="{kind}" cx="(.*?)" cy="(.*?)" r="(.*?)"/>', part)
        for each, dot in zip(bins, dots, strict=True):
            right = (40 + 240 * each.score, 250 - 240 * each.right, 1.5 + 9 * (each.videos / 40) ** 0.5)
            assert [float(number) for number in dot] == pytest.approx(right, abs=0.06)
        words = "; ".join(f"score {each.score:.2f}, right {each.right:.2f}, {each.videos} videos" for each in bins)
        assert f"{kind.capitalize()} calibration: {words}." in part
        assert f'<polyline class="{kind}" points="{" ".join(f"{x},{y}" for x, y, _ in dots)}"/>' in part
    assert re.search(r'y="284" [^>]*>score of the best label<.*>share that is right<', part)


def test_the_page_is_whole_and_reaches_for_nothing():
    seen = Seen(PAGE)
    assert [element for element, _ in seen.elements].count("h1") == 1
    assert not {"script", "link", "iframe", "a", "form", "object"} & {element for element, _ in seen.elements}
    [policy] = [meta["content"] for meta in seen.attributes("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in PAGE and "http" not in PAGE.replace("http-equiv", "")
    assert all(cell.get("scope") in ("col", "row") for cell in seen.attributes("th"))
    assert all(svg.get("aria-hidden") == "true" or svg.get("aria-label") for svg in seen.attributes("svg"))
    assert len(seen.attributes("caption")) == len(seen.attributes("table")) == 4


def test_names_and_ids_are_text_whatever_they_are():
    hostile = '"><img src=x onerror=alert(1)>\n\x1b[2J`</style>'
    scored = replace(some(), baseline=None, ids=[hostile.encode() + b"\xff%d" % row for row in range(40)])
    options = PageOptions(hostile, hostile, dict.fromkeys(range(4), hostile), lambda name: [Picture(0)])
    page = report_page(scored, options)
    seen = Seen(page)
    assert all(picture["src"].startswith("data:") for picture in seen.attributes("img"))
    assert "\x1b" not in page and "<img src=x" not in page and "\\x1b[2J" in page
    assert page.count("</style>") == 1


def test_again_it_is_the_same():
    assert report_page(some(), OPTIONS) == PAGE


def test_videos_without_labels_are_refused():
    with pytest.raises(AlstmError, match=r"own/crossval: none of its 40 videos has a label; judge videos that have"):
        report_page(replace(some(), labels=np.zeros((40, 4), bool)), OPTIONS)


def test_a_phone_shows_it_without_scrolling_sideways(tmp_path):
    """Wide tables scroll by themselves; nothing is refused by the page's own policy."""
    path = tmp_path / "report.html"
    path.write_text(report_page(replace(some(58, 29), baseline=None), OPTIONS), encoding="utf-8")
    with window(390, 800) as shown:
        shown.page.goto(path.as_uri())
        assert shown.ask("document.documentElement.scrollWidth") == 390
        assert shown.ask("[...document.querySelectorAll('.scroll')].some(each => each.scrollWidth > each.clientWidth)")
        assert not shown.complaints and shown.hosts == {""}


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def crossed(tiny_config, tmp_path):
    """Return the folder of a cross-validation, as far as the command looks at it."""
    run = RunFolder(tmp_path / "own" / "crossval")
    save_config(run.config, changed(tiny_config, TRAIN__filelist=str(tmp_path / "data" / "train.list")))
    some(40, 20).save(run.scores)
    return run.folder


def test_the_command_on_a_cross_validation(alstm, crossed):
    done = alstm("report", crossed)
    assert done.code == 0 and done.last == f"40 videos → {crossed / 'report.html'}"
    page = (crossed / "report.html").read_text("utf-8")
    assert "see 3" in page and "by a network that has not learnt from it" in page and "linear baseline" in page
    assert "There are no thumbnails" in page
    raw = RawFolder(crossed.parents[1] / "data" / "raw")
    raw.save("v03", dict.fromkeys(STREAM_DIMS, np.zeros((1, 2), np.float32)), [Thumbnail(7, b"\xff\xd8\xff")])
    other = alstm("report", crossed, "--out", crossed / "more" / "x.html")
    other_page = (crossed / "more" / "x.html").read_text("utf-8")
    assert other.code == 0 and 'alt="v03, second 7"' in other_page and "There are no thumbnails" in other_page


@pytest.mark.parametrize(
    "kept", [5, [7], [(1,)], [(b"", 1)], [(1, b"", 2)], [(0, b"\xff\xd8\xff"), ("1", b"")], {"0": b""}]
)
def test_the_page_does_without_thumbnails_that_are_odd(alstm, crossed, kept):
    raw = RawFolder(crossed.parents[1] / "data" / "raw")
    numbers = dict.fromkeys(STREAM_DIMS, np.zeros((1, 2), np.float32))
    save_plain(raw.file_of("v03"), {**numbers, "thumbnails": kept})
    with pytest.raises(
        AlstmError, match=r"\.pkl: its thumbnails are not seconds with pictures; delete it, and run again$"
    ):
        raw.thumbnails("v03")
    assert alstm("report", crossed).code == 0
    assert "There are no thumbnails" in (crossed / "report.html").read_text("utf-8")


def test_the_command_on_a_training(alstm, tiny_config, tmp_path):
    """Its validation list judges; that is said."""
    run = RunFolder(tmp_path / "run", tiny_config.MODEL.name)
    save_config(run.config, tiny_config)
    paddle.seed(0)
    save_weights(build_model(tiny_config), run.best)
    assert alstm("report", run.folder).code == 0
    page = (run.folder / "report.html").read_text("utf-8")
    assert "20 videos with labels of" in page and "the numbers are somewhat too good" in page
    run.best.rename(run.latest)
    assert alstm("report", run.folder).code == 0
    page = (run.folder / "report.html").read_text("utf-8")
    assert "scored by AttentionLSTM_latest.pdparams." in page and "too good" not in page


def test_parts_of_a_recording_are_one_to_report_as_they_are_to_eval(alstm, tiny_config, tmp_path, monkeypatch):
    data, given = tmp_path / "data", dict[str, list[bytes]]()
    data.mkdir()
    write_sealed(data / "features.json", {"group": ".$"})
    judged = str(write_list(data / "val.list", read_filelist(tiny_config.VALID.filelist)))
    config = changed(tiny_config, VALID__filelist=judged, TEST__filelist=judged)
    run = RunFolder(tmp_path / "run", config.MODEL.name)
    save_config(run.config, config)
    save_weights(build_model(config), run.best)
    for module in (html_report, report):

        def spy(*arguments, groups, of=module.__name__, **options):
            given[of] = list(groups)
            return bootstrap_intervals(*arguments, groups=groups, **options)

        monkeypatch.setattr(module, "bootstrap_intervals", spy)
    assert alstm("report", run.folder).code == 0
    out = tmp_path / "metrics.json"
    assert alstm("eval", "--config", run.config, "--weights", run.best, "--out", out, "--resamples", 2).code == 0
    of_report, of_eval = map(Counter, given.values())
    assert of_report == of_eval and 1 < len(of_eval) < of_eval.total() == 20


@pytest.mark.parametrize("out", [".", "", "new.html/", "scores.pkl", "page", ".html", "x.html.json"])
def test_a_name_that_is_not_of_a_page_is_refused_before_any_work(alstm, crossed, out):
    before = {path: path.read_bytes() for path in crossed.iterdir()}
    result = alstm("report", crossed, "--out", f"{crossed}/{out}")
    assert result.code == 2 and re.search(r"--out: .+; name a file( that does)?\.$", result.err.strip())
    assert {path: path.read_bytes() for path in crossed.iterdir()} == before


def test_other_folders_are_refused(alstm, crossed, tmp_path):
    done = alstm("report", tmp_path / "none")
    assert done.code == 1 and done.err.endswith("name the --save_dir of `alstm crossval` or `alstm train`\n")
    (crossed / "scores.pkl").write_bytes(b"none")
    assert alstm("report", crossed).code == 1 and not (crossed / "report.html").exists()
