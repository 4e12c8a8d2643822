"""Test what labelling tools and spreadsheets really write: read as meant, refused where it has two readings."""

from __future__ import annotations

import json

import pytest

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.label_formats.locations import video_name, video_path
from alstm_helpers.own_videos.labels import Annotation, ReadOptions, import_labels, read_annotations, read_imported


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    return path


def labels_in(path, **options):
    """Import an export; return the labels by video or part, and the notes without their places."""
    done = import_labels([path], path.parent / "out", ReadOptions(**options))
    assert read_imported(path.parent / "out") == done.annotations  # what was written is read as it was found
    return {each.video_id: each.labels for each in done.annotations}, [note.split(": ", 1)[1] for note in done.notes]


def refusal(path, **options):
    """Return why an export is refused, after its name."""
    with pytest.raises(AlstmError) as caught:
        read_annotations(path, ReadOptions(**options))
    assert str(caught.value).startswith(str(path))
    return str(caught.value)[len(str(path)) :].lstrip(":, ")


# --- names of files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/data/upload/12/1fd99634-a.mp4", "a.mp4"),
        ("/data/upload/12/1fd99634-20240101-cam1.mp4", "20240101-cam1.mp4"),
        ("https://labels.example.org/data/upload/8/1fd99634-a%20b.mp4", "a b.mp4"),
        ("http://host:8080/tool/data/upload/8/1fd99634-a.mp4?x=1#t=3", "a.mp4"),
        ("/tool/data/upload/8/1fd99634-%E7%8C%AB.mp4", "猫.mp4"),
        ("upload/8/1fd99634-a.mp4", "a.mp4"),
        ("/data/upload/12/a.mp4", "a.mp4"),
        ("/data/upload/12/1FD99634-a.mp4", "1FD99634-a.mp4"),
        ("upload/20240101-cam1.mp4", "20240101-cam1.mp4"),
        ("20240101-cam1.mp4", "20240101-cam1.mp4"),
        ("/data/local-files/?d=clips/20240101-cam1.mp4", "20240101-cam1.mp4"),
        ("/data/local-files/?d=clips%5C2024%20a%2Bb.mp4", "2024 a+b.mp4"),
        ("/data/local-files?d=data/upload/1/1fd99634-a.mp4", "1fd99634-a.mp4"),
        ("http://host/data/local-files/?d=x/50%2525.mp4", "50%25.mp4"),
        ("s3://bucket/3f2504e0-4f89-11d3-9a0c-0305e82c3301.mp4", "3f2504e0-4f89-11d3-9a0c-0305e82c3301.mp4"),
        ("s3://bucket/data/upload/1/1fd99634-a.mp4", "1fd99634-a.mp4"),
        ("gs://bucket/x/take#1 b?.mp4", "take#1 b?.mp4"),
        ("azure-blob://container/x/a%20b.MP4?sig=1", "a b.MP4"),
        ("https://host/x/a%20b.mp4?token=x.mp4#t=10,20", "a b.mp4"),
        ("https://host/x/a.mp4#t=10,20", "a.mp4"),
        ("https://host/get?file=x%2Fa.mp4&size=1", "a.mp4"),
        (r"C:\clips\50%20.mp4", "50%20.mp4"),
        ("clips/a%20b.mp4", "a%20b.mp4"),
        (" ./clips//a#1.mp4 ", "a#1.mp4"),
        ("cafe\u0301.mp4", "café.mp4"),
        ("", ""),
    ],
)
def test_the_name_of_a_file(text, name):
    """Only uploads lose Label Studio's eight digits; URLs are decoded once, paths are not."""
    assert video_name(text) == name


def test_one_path_has_one_spelling():
    spellings = [r"x\a.mp4", "./x/a.mp4", "x//a.mp4"]
    assert {video_path(text) for text in spellings} == {"x/a.mp4"}
    assert video_path("https://h/a.mp4?sig=1") == video_path("https://h/a.mp4?sig=2")


@pytest.mark.parametrize("folder", ["/data/local-files/?d=", "s3://bucket/", "/mnt/", "https://host/x/"])
def test_two_files_of_one_name_do_not_share_their_labels(tmp_path, folder):
    tasks = [task(choices(day), video=f"{folder}{day}/cam.mp4") for day in ("day1", "day2")]
    found = read_annotations(write(tmp_path / "p.json", tasks))
    assert found == [Annotation("day1/cam.mp4", ("day1",)), Annotation("day2/cam.mp4", ("day2",))]


def test_two_uploads_of_one_name_are_refused(tmp_path):
    locations = [f"/data/upload/1/{digits}-cam.mp4" for digits in ("1fd99634", "2fd99634")]
    path = write(tmp_path / "p.json", [task(choices("cat"), video=location) for location in locations])
    assert "task 2, annotations[0]: " in refusal(path) and "have the same file name" in refusal(path)


# --- Label Studio: JSON -------------------------------------------------------------------------------------------


def task(*results, video="/data/upload/1/0a1b2c3d-a.mp4", **annotation):
    return {"id": 1, "data": {"video": video}, "annotations": [{"result": list(results)} | annotation]}


def choices(*names):
    return {"type": "choices", "value": {"choices": list(names)}}


def timeline(start, end):
    return {"type": "timelinelabels", "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": ["run"]}}


def region(**value):
    return {"type": "labels", "value": {"channel": 0, "labels": ["bark"]} | value}


BACKWARDS = "a part dragged backwards: its ends are swapped"
FRAME_0 = "a part begins at frame 0, though Label Studio counts from 1: read as frame 1"
OF_TEXT = "paragraphlabels are not labels of a video: not read"


@pytest.mark.parametrize(
    ("results", "found", "notes"),
    [
        ([{"value": {"choices": "cat"}}], {"a": ("cat",)}, []),
        ([{"value": {"choices": [1, ["animal", "dog"]]}}], {"a": ("1", "dog")}, []),
        ([{"value": {"taxonomy": [["animal", "cat"], ["plant"]]}}], {"a": ("cat", "plant")}, []),
        ([{"type": "relation", "from_id": "x", "to_id": "y"}, choices("cat")], {"a": ("cat",)}, []),
        ([{"value": {"text": ["a comment"]}}, {"value": {"rating": 4}}, {"value": {"number": 2}}], {"a": ()}, []),
        ([{"value": {"choices": None}}], {"a": ()}, []),
        ([timeline(80, 50)], {"a@1.96-3.2": ("run",)}, [BACKWARDS]),
        ([timeline(0, 25)], {"a@0-1": ("run",)}, [FRAME_0]),
        ([timeline(26, 26)], {"a@1-1.04": ("run",)}, []),
        ([timeline(None, 50), choices("cat")], {"a": ("cat",)}, ["a part without a start, left out"]),
        ([timeline(26, None), region(start=1, end=2)], {"a@1-2": ("bark",)}, ["a part without an end, left out"]),
        ([region(start=1.5), choices("cat")], {"a": ("cat",)}, ["a part without an end, left out"]),
        ([region(start=2.5, end=1)], {"a@1-2.5": ("bark",)}, [BACKWARDS]),
        ([region(start=2, end=2), choices("cat")], {"a": ("cat",)}, ["a part without length, left out"]),
        ([region(start=1, end=5, text="said")], {"a": ()}, ["labels of a piece of text: not read"]),
        ([{"value": {"start": "0", "paragraphlabels": ["x"]}}], {"a": ()}, [OF_TEXT]),
        ([region(start=1234.567, end=2000)], {"a@1234.567-2000": ("bark",)}, []),
    ],
)  # fmt: skip
def test_results_of_label_studio(tmp_path, results, found, notes):
    assert labels_in(write(tmp_path / "p.json", [task(*results)]), fps=25) == (found, notes)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"data": {"video": "a.mp4"}, "annotations": [5, 6]}, "annotations[0]: it is of type int, not an obj"),
        ({"data": {"video": "a.mp4"}, "annotations": "x"}, "annotations: it is of type str, not a list"),
        (task(None), "annotations[0], result[0]: it is null, not an object"),
        (task({"value": "cat"}), "annotations[0], result[0], value: it is of type str, not an object"),
        (task({"value": {"choices": {"cat": 1}}}), "value, choices: it is of type dict, not a class name"),
        (task({"value": {"choices": [None]}}), "value, choices: it is null, not a class name"),
        (task({"value": {"choices": [True]}}), "value, choices: it is of type bool, not a class name"),
        (task({"value": {"taxonomy": [[]]}}), "value, taxonomy: it is of type list, not a class name"),
        (task({"value": {"ranges": 7, "timelinelabels": ["x"]}}), "value, ranges: it is of type int, not a list"),
        (task(timeline("5", 6)), "value, ranges[0], start: it is of type str, not a number"),
        (task(timeline(True, 6)), "value, ranges[0], start: it is of type bool, not a number"),
        (task(timeline(5, -6)), "value, ranges[0], end: -6 is no place in a video"),
        (task(timeline(5, float("nan"))), "value, ranges[0], end: nan is no place in a video"),
        (task(region(start=1, end=10**400)), "value, end: 1000"),
        (task(region(start=1, end=2_000_000)), "annotations[0], result[0], value: 1 to 2000000 s is not a part"),
        (task(choices("a\x1b[31mb")), r"value: 'a\x1b[31mb' is not a class name"),
        (task(choices("a\ud800b")), r"value: 'a\ud800b' is not a class name"),
        (task(choices("a;b")), "value: 'a;b' is not a class name"),
        (task(choices("x" * 201)), "is not a class name; use 1 to 200 characters"),
        (task(video="a\nb.mp4"), r"'a\nb.mp4' is not a file name"),
        (task(video="a\ud800b.mp4"), r"'a\ud800b.mp4' is not a file name"),
        (task(video={"url": "a.mp4"}), "it names no video file"),
    ],
)  # fmt: skip
def test_an_odd_export_is_refused_where_it_is_odd(tmp_path, document, says):
    said = refusal(write(tmp_path / "p.json", [document]), fps=25)
    assert said.startswith("task 1") and says in said


def test_only_finished_annotations_count(tmp_path):
    """Skipped ones, drafts and predictions do not, and such a video is no example of a clip without a class."""
    document = [
        {"data": {"video": "a.mp4"}, "annotations": [], "predictions": [{"result": [choices("cat")]}]},
        {"data": {"video": "b.mp4"}, "annotations": None, "drafts": [{"result": [choices("cat")]}]},
        task(choices("cat"), video="c.mp4", was_cancelled=True),
        task(choices("cat"), video="d.mp4", skipped=True),
        task(video="e.mp4"),
    ]
    found, notes = labels_in(write(tmp_path / "p.json", document))
    assert found == {"e": ()}
    assert notes == ["not annotated, left out (skipped annotations, drafts and predictions do not count) (4 times)"]
    said = refusal(write(tmp_path / "q.json", document[:1]))
    assert said.startswith("it labels no video; ") and "not annotated, left out" in said


def test_labels_of_several_annotators_are_taken_together(tmp_path):
    document = task(choices("cat"))
    document["annotations"].append({"result": [choices("dog")]})
    found, notes = labels_in(write(tmp_path / "p.json", [document]))
    assert found == {"a": ("cat", "dog")} and notes == ["annotated more than once: all labels are taken together"]


def test_a_task_of_several_videos(tmp_path):
    """The one called video counts; of others nobody knows which."""
    two = {"left": "l.mp4", "right": "r.mp4"}
    document = [{"data": {"preview": "p.mp4", "video": "a%20b.mp4"}, "annotations": [{"result": [choices("cat")]}]}]
    assert labels_in(write(tmp_path / "p.json", document))[0] == {"a b": ("cat",)}
    document[0]["data"] = two
    assert "task 1: it names several videos, such as l.mp4 and r.mp4" in refusal(write(tmp_path / "p.json", document))


# --- Label Studio: JSON-MIN and CSV ---------------------------------------------------------------------------------

ABOUT = {"annotator": 1, "annotation_id": 11, "created_at": "2026-05-01", "updated_at": "2026-05-01", "lead_time": 3.5}


def minimal(video, **columns):
    return {"video": video, "id": 1} | columns | ABOUT


DATA = {"title": "Holiday", "camera": "north", "tags": ["x", "y"], "link": "https://example.org/a"}
PLAIN = "title, camera, tags: plain text, not read as classes; if they are classes, say --label_columns "
PLAIN += "kind,title,camera,tags"


@pytest.mark.parametrize(
    ("columns", "options", "found", "notes"),
    [
        ({"kind": {"choices": ["cat", "dog"]}}, {}, {"a": ("cat", "dog")}, []),
        ({"choice": "cat"}, {}, {"a": ("cat",)}, []),
        ({"Label": "cat"}, {}, {"a": ("cat",)}, []),
        ({"kind": "cat"}, {"columns": ("kind",)}, {"a": ("cat",)}, []),
        ({"kind": ["cat", "dog"]}, {"columns": ("kind",)}, {"a": ("cat", "dog")}, []),
        ({"kind": "cat", "state": "wet"}, {"columns": ("kind", "state")}, {"a": ("cat", "wet")}, []),
        (DATA | {"kind": {"choices": ["cat"]}}, {}, {"a": ("cat",)}, [PLAIN]),
        (DATA | {"kind": [{"taxonomy": [["animal", "cat"]]}]}, {}, {"a": ("cat",)}, [PLAIN]),
        (DATA | {"kind": "cat"}, {"columns": ("kind",)}, {"a": ("cat",)}, []),
        ({"box": [{"start": 1, "end": 2, "labels": ["cat"]}]}, {}, {"a@1-2": ("cat",)}, []),
        ({"line": [timeline(1, 25)["value"]]}, {"fps": 25}, {"a@0-1": ("run",)}, []),
        ({"choice": "cat", "notes": {"text": ["a", "b"]}, "stars": [{"rating": 4}]}, {}, {"a": ("cat",)}, []),
        ({"notes": {"text": ["a", "b"]}, "stars": [{"rating": 4}]}, {}, {"a": ()}, []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".json", ".csv", ".tsv"])
def test_minimal_exports(tmp_path, columns, options, found, notes, suffix):
    """JSON-MIN, CSV and TSV say the same: data, comments, numbers and ratings are no classes."""
    record = minimal("/data/upload/1/0a1b2c3d-a.mp4", **columns)
    path = write(tmp_path / f"p{suffix}", [record] if suffix == ".json" else cells(record, suffix))
    assert labels_in(path, **options) == (found, notes)


def cells(record, suffix):
    """Write a record as Label Studio writes CSV: JSON in cells that are not text, all text in quotes."""
    values = [value if isinstance(value, str) else json.dumps(value) for value in record.values()]
    rows = [['"' + text.replace('"', '""') + '"' for text in row] for row in (record, values)]
    return "".join(("," if suffix == ".csv" else "\t").join(row) + "\n" for row in rows)


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_plain_text_in_a_minimal_export_has_two_readings(tmp_path, suffix):
    record = minimal("a.mp4", kind="cat", notes="blurred")
    path = write(tmp_path / f"p{suffix}", [record] if suffix == ".json" else cells(record, suffix))
    said = refusal(path)
    assert said.startswith("kind, notes: classes, or data and comments of the tasks?")
    assert "--label_columns kind" in said
    assert refusal(path, columns=("sort",)).startswith("it has no column sort; name one of video, id, kind, notes")


def test_a_choice_is_one_in_all_tasks_if_it_is_one_in_any(tmp_path):
    """A choice of one class is plain text, of several classes an object."""
    records = [minimal("a.mp4", kind="cat", size=3), minimal("b.mp4", kind={"choices": ["cat", "dog"]})]
    assert labels_in(write(tmp_path / "p.json", records)) == ({"a": ("cat",), "b": ("cat", "dog")}, [])


def test_a_comment_is_one_in_all_tasks_if_it_is_one_in_any(tmp_path):
    """A comment in one piece is plain text, in several an object."""
    records = [minimal("a.mp4", choice="cat", notes="x"), minimal("b.mp4", notes={"text": ["x", "y"]})]
    assert labels_in(write(tmp_path / "p.json", records)) == ({"a": ("cat",), "b": ()}, [])


def test_minimal_records_without_annotation(tmp_path):
    records = [minimal("a.mp4", choice="cat"), minimal("b.mp4", choice="") | {"annotation_id": None}]
    assert labels_in(write(tmp_path / "p.json", records))[0] == {"a": ("cat",)}
    text = cells(records[0], ".csv") + cells(records[1], ".csv").partition("\n")[2].replace("null", "")
    assert labels_in(write(tmp_path / "p.csv", text))[0] == {"a": ("cat",)}
    assert refusal(write(tmp_path / "q.json", [{"video": "a.mp4"}])).startswith("it has no labels, only the data")


@pytest.mark.parametrize(
    "document",
    [
        {"project": {"pname": "P"}, "file": {"1": {"fname": "a.mp4"}}, "metadata": {}},  # VGG Image Annotator
        {"_via_settings": {}, "_via_img_metadata": {}, "_via_attributes": {}},  # the same for pictures, version 2
        {"detail": "Authentication credentials were not provided."},
        {},
    ],
)
def test_json_of_other_tools(tmp_path, document):
    assert refusal(write(tmp_path / "p.json", document)) == (
        "it is of another tool, or an answer without labels; "
        "write its labels to a table, with the columns video,start,end,labels or video,labels"
    )


def test_xml_of_other_tools(tmp_path):
    said = refusal(write(tmp_path / "a.xml", "<TrackMate/>"))
    assert said.startswith("it is neither CVAT's XML nor Colabeler's, which has a path; write its labels to a table")


# --- CVAT -----------------------------------------------------------------------------------------------------------

TASK = """<task><id>7</id><size>50</size><mode>interpolation</mode><start_frame>0</start_frame>
<frame_filter>step=2</frame_filter><source>walk.mp4</source></task>"""


def cvat(*elements, meta=TASK):
    return f"<annotations><version>1.1</version><meta>{meta}</meta>{''.join(elements)}</annotations>"


def track(label, *shapes):
    """Write a track with shapes at frames; those in negative numbers are outside the picture."""
    boxes = [f'<box frame="{abs(frame)}" outside="{int(frame < 0)}" xtl="1" keyframe="1"/>' for frame in shapes]
    return f'<track id="0" label="{label}" source="manual">{"".join(boxes)}</track>'


SKELETON = """<track label="cat"><skeleton frame="0"><points outside="1"/><points outside="0"/></skeleton>
<skeleton frame="20"><points outside="1"/><points outside="1"/></skeleton></track>"""
ONE_FRAME = "a label of one frame: read as one of the whole video"


@pytest.mark.parametrize(
    ("elements", "found", "notes"),
    [
        ([track("cat", 0, 2, 98)], {"walk": ("cat",)}, []),
        ([track("cat", 0, -100)], {"walk": ("cat",)}, []),
        ([track("cat", 10, 30, -40), track("dog", 50)], {"walk@1-4": ("cat",), "walk@5-10": ("dog",)}, []),
        ([track("cat", 10, -20, 60, -80)], {"walk@1-2": ("cat",), "walk@6-8": ("cat",)}, []),
        ([track("cat", 10, -12), track("dog", 0, -100)], {"walk": ("cat", "dog")}, [ONE_FRAME]),
        (["".join(f'<image id="{n}" name="frame_{n:06}"><tag label="run"/></image>' for n in (10, 12, 14, 60))],
         {"walk@1-1.6": ("run",), "walk": ("run",)}, [ONE_FRAME]),
        (['<image id="0" name="clips/b.mp4"><tag label="cat"/><box label="dog"/></image><image id="1" name="c.mp4"/>',
          track("run", 0, 98)], {"walk": ("run",), "b": ("cat", "dog"), "c": ()}, []),
        ([SKELETON], {"walk@0-2": ("cat",)}, []),
        ([track("cat", 0, 98).replace("/></t", '><attribute name="age">3</attribute></box></t')],
         {"walk": ("cat",)}, ["attributes of labels: not read"]),
    ],
)  # fmt: skip
def test_labels_of_cvat(tmp_path, elements, found, notes):
    """Frames count from 0, and as the video has them, whatever the step; what is seen throughout labels the video."""
    assert labels_in(write(tmp_path / "annotations.xml", cvat(*elements)), fps=10) == (found, notes)


def test_several_videos_of_cvat(tmp_path):
    second = TASK.replace("<id>7<", "<id>8<").replace("walk", "run")
    meta = f"<project><tasks>{TASK}{second}</tasks></project>"
    of_second = track("cat", 0, 98).replace("<track", '<track task_id="8"')
    found, notes = labels_in(write(tmp_path / "a.xml", cvat(of_second, meta=meta)))
    assert found == {"run": ("cat",)}
    assert notes == ["no label in it, left out; if no class fits the video, say so in a table"]
    old = cvat(track("cat", 0, 98), meta="<task><size>99</size></task><source>old.mp4</source>")
    assert labels_in(write(tmp_path / "b.xml", old))[0] == {"old": ("cat",)}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (
            cvat(track("cat", 10, -40)),
            "track 0: cat is a label of the frames 10 to 39, not of the whole video; pass the",
        ),
        (
            cvat(track("cat", 0), meta="<task><size>9</size></task>"),
            "track 0: nothing says of which video it is; export",
        ),
        (cvat(track("cat", 0).replace('frame="0"', 'frame="x"')), "track 0, frame: 'x' is not the number of a frame"),
        (cvat('<image id="" name="f"><tag label="cat"/></image>'), "image , id: '' is not the number of a frame"),
        (cvat(track("a;b", 0, 98)), "track 0: 'a;b' is not a class name"),
        (cvat(), "it labels no video"),
    ],
)
def test_what_cvat_leaves_open_is_refused(tmp_path, document, says):
    assert refusal(write(tmp_path / "a.xml", document)).startswith(says)


# --- VIA ------------------------------------------------------------------------------------------------------------

VIA = {
    "project": {"pname": "P", "data_format_version": "3.1.2"},
    "attribute": {
        "1": {"aname": "TEMPORAL-SEGMENTS", "type": 4, "options": {"1": "run", "2": "walk"}},
        "2": {"aname": "place", "type": 2, "options": {"a": "street", "b": "wood"}},
        "3": {"aname": "Comment", "type": 1, "options": {}},
    },
    "file": {
        "1": {"fid": 1, "fname": "a.mp4", "type": 4, "loc": 1, "src": ""},
        "2": {"fid": 2, "fname": "x", "type": 4, "loc": 2, "src": "https://host/b.mp4"},
        "3": {"fid": 3, "fname": "c.png", "type": 2, "loc": 1, "src": ""},
    },
    "view": {"1": {"fid_list": [1]}, "2": {"fid_list": ["2"]}, "3": {"fid_list": [3]}, "4": {"fid_list": [1, 2]}},
}  # fmt: skip


def via(*marks, **more):
    """Write a project with marks, each of a view, times and the values of attributes."""
    found = {f"1_{n}": {"vid": vid, "flg": 0, "z": z, "xy": [], "av": av} for n, (vid, z, av) in enumerate(marks)}
    return VIA | {"metadata": found} | more


COMMENT = "Comment: not read as classes; if they are classes, say --label_columns Comment"


@pytest.mark.parametrize(
    ("marks", "columns", "found", "notes"),
    [
        ([("1", [1.5, 2.25], {"1": "2"}), ("1", [], {"2": "a,b"})], (),
         {"a@1.5-2.25": ("walk",), "a": ("street", "wood")}, []),
        ([("2", [4.2], {"1": "other"})], (), {"b": ("other",)}, []),
        ([("1", [1, 2], {"1": "1", "3": "fine"})], (), {"a@1-2": ("run",)}, [COMMENT]),
        ([("1", [1, 2], {"1": "1", "3": "fine"})], ("Comment",), {"a@1-2": ("fine",)}, []),
        ([("1", [1, 2], {"1": "_DEFAULT"}), ("1", [], {"2": "a"})], (), {"a": ("street",)},
         ["a mark without a class, left out"]),
        ([("1", [], {"2": "b"}), ("3", [], {"2": "a"})], (), {"a": ("wood",)},
         ["a mark in a picture or a sound, left out"]),
        ([("1", [2, 2], {"1": "1"}), ("1", [3, 4], {"1": "2"})], (), {"a@3-4": ("walk",)},
         ["a part without length, left out"]),
        ([("1", [4, 1.5], {"1": "1"})], (), {"a@1.5-4": ("run",)}, [BACKWARDS]),
    ],
)  # fmt: skip
def test_labels_of_via(tmp_path, marks, columns, found, notes):
    assert labels_in(write(tmp_path / "via.json", via(*marks)), columns=columns) == (found, notes)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (
            via(("1", [1, 2], {"3": "fine"})),
            "Comment: classes, or comments? Text may be either; name those with classes",
        ),
        (
            via(("4", [1, 2], {"1": "1"})),
            "metadata 1_0: it is of several files, a.mp4 and https://host/b.mp4; label each",
        ),
        (via(("9", [1, 2], {"1": "1"})), "metadata 1_0: it names no video file"),
        (via(("1", [1, 2, 3], {"1": "1"})), "metadata 1_0: [1, 2, 3] is no part of a video"),
        (via(("1", "x", {"1": "1"})), "metadata 1_0, z: it is of type str, not a list of seconds"),
        (via(("1", [1, 2], {"1": 1})), "metadata 1_0, TEMPORAL-SEGMENTS: it is of type int, not text"),
        (via(("1", [1, 2], [])), "metadata 1_0, av: it is of type list, not an object"),
        (via(view=5), "view: it is of type int, not an object"),
        (via(), "it labels no video"),
    ],
)
def test_what_via_leaves_open_is_refused(tmp_path, document, says):
    assert refusal(write(tmp_path / "via.json", document)).startswith(says)


ATTRIBUTES = json.dumps(VIA["attribute"])


@pytest.mark.parametrize(
    "text",
    [
        f"# SHAPE_ID = {{}}\n# ATTRIBUTE = {ATTRIBUTES}\n"
        "# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata\n"
        '"1_a","[""a.mp4""]",0,"[1.5,2.25]","[]","{""1"":""2""}"\n"1_b","[""a.mp4""]",0,"[]","[]","{""1"":""1""}"\n',
        "# CSV_HEADER = metadata_id,file_list,temporal_segment_start,temporal_segment_end,metadata\n"
        '"1_a","[""a.mp4""]",1.5,2.25,"{""TEMPORAL-SEGMENTS"":""walk""}"\n'
        '"1_b","[""a.mp4""]",0,9,"{""TEMPORAL-SEGMENTS"":""run""}"\n',
    ],
)
def test_tables_of_via(tmp_path, text):
    path = write(tmp_path / "via.csv", f"# Exported using VGG Image Annotator (http://example.org)\n{text}")
    found = labels_in(path)[0]
    assert found.pop("a@1.5-2.25") == ("walk",) and list(found.values()) == [("run",)]
    write(path, path.read_text("utf-8") + '"1_c","x"\n')
    assert ": it has not the columns metadata_id,file_list" in refusal(path).replace(", ", ",")


# --- PaddleVideo ----------------------------------------------------------------------------------------------------

ACTION = {"label_ids": [7, 2], "label_names": ["界外球", "角球"], "start_id": 760, "end_id": 763.5}
GTS = {"fps": 5, "gts": [{"url": "https://host/v/5572.mp4", "total_frames": 6341, "actions": [ACTION]}]}
SEGMENTS = {
    "v_a.b": {
        "duration_second": 82.7,
        "subset": "training",
        "annotations": [{"segment": [6.5, 77], "label": "Ballet"}],
    },
    "v_c": {"subset": "testing", "annotations": []},
}
LEFT_OUT = ["without annotations, left out"]


@pytest.mark.parametrize(
    ("document", "found", "notes"),
    [
        (GTS, {"5572@760-763.5": ("界外球", "角球")}, []),
        ({"gts": [{"url": "a.mp4", "actions": [{**ACTION, "label_names": None}]}]}, {"a@760-763.5": ("2", "7")}, []),
        (SEGMENTS, {"v_a@6.5-77": ("Ballet",)}, LEFT_OUT),
        ({"version": "1.3", "taxonomy": [], "database": SEGMENTS}, {"v_a@6.5-77": ("Ballet",)}, LEFT_OUT),
        ({"x": {"annotations": [{"label": "4.0", "label_name": "run"}]}}, {"x": ("run",)}, []),
    ],
)
def test_json_of_paddlevideo_and_activitynet(tmp_path, document, found, notes):
    """FootballAction counts seconds, whatever its fps, which is that of extracted pictures."""
    assert labels_in(write(tmp_path / "label.json", document)) == (found, notes)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"gts": [{"actions": [ACTION]}]}, "gts[0], url: it is null, not the name of a video"),
        ({"gts": [{"url": "a.mp4"}]}, "gts[0], actions: it is null, not a list"),
        ({"gts": [{"url": "a.mp4", "actions": [{**ACTION, "end_id": "9"}]}]}, "gts[0], actions[0], end_id: it is of"),
        ({"gts": [{"url": "a.mp4", "actions": [{**ACTION, "start_id": -1}]}]}, "gts[0], actions[0], start_id: -1 is"),
        ({"x": {"annotations": [{"segment": [1], "label": "run"}]}}, "database x, annotations[0], segment: it is of"),
        ({"x": {"annotations": [{"segment": [1, 2]}]}}, "database x, annotations[0], label: it is null"),
    ],
)  # fmt: skip
def test_odd_json_of_paddlevideo(tmp_path, document, says):
    assert refusal(write(tmp_path / "label.json", document)).startswith(says)


@pytest.mark.parametrize("suffix", [".txt", ".list"])
def test_lists_of_paddlevideo(tmp_path, suffix):
    path = write(tmp_path / f"train{suffix}", "run/01.mp4 3\nwalk/a b.mp4\t0;2\n\n")
    assert [(each.video, each.labels) for each in read_annotations(path)] == [
        ("run/01.mp4", ("3",)),
        ("walk/a b.mp4", ("0", "2")),
    ]
    assert "line 1: '3,4' is one class, or the 2 classes" in refusal(write(path, "a.mp4 3,4\n"))
    refused = "not each line is the path" if suffix == ".list" else "its columns are run/01.mp4 30 3"
    assert refusal(write(path, "run/01.mp4 30 3\n")).startswith(refused)
    assert "it labels no video" in refusal(write(tmp_path / "none.list", "\n"))


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ('"{""choices"":[""cat"",""dog""]}"', ("cat", "dog")),
        ('"[{""choices"":[""cat""]},{""choices"":[""dog""]}]"', ("cat", "dog")),
        ('"[""cat"", ""dog""]"', ("cat", "dog")),
        ('"[{""taxonomy"":[[""animal"",""cat""]]}]"', ("cat",)),
        ("cat;dog", ("cat", "dog")),
        ("=cmd|' /C calc'!A0", None),
        ("=1+2", ("=1+2",)),
        ("[]", ()),
        ("cat/dog", ("cat/dog",)),
    ],
)
def test_cells(tmp_path, cell, labels):
    path = write(tmp_path / "l.csv", f"video,id,label\na.mp4,2,{cell}\n")
    if labels is None:
        assert "is one class, or the 2 classes" in refusal(path)
    else:
        assert labels_in(path) == ({"a": labels}, [])


def test_regions_in_a_cell(tmp_path):
    cell = '"[{""start"":1,""end"":2,""labels"":[""cat""]},{""start"":3,""labels"":[""dog""]}]"'
    found, notes = labels_in(write(tmp_path / "l.csv", f"video,label\na.mp4,{cell}\n"))
    assert found == {"a@1-2": ("cat",)} and notes == ["a part without an end, left out"]
    row = 'video,start,end,label\na.mp4,5,6,"{""choices"":[""cat""]}"\n'
    assert labels_in(write(tmp_path / "m.csv", row))[0] == {"a@5-6": ("cat",)}


@pytest.mark.parametrize("cell", ['"cat,dog"', "cat|dog", "cat，dog", "cat；dog", "cat、dog"])
def test_what_may_separate_classes_has_two_readings(tmp_path, cell):
    """Refused, until --separator says which."""
    name = cell.strip('"')
    path = write(tmp_path / "l.csv", f"video,label\na.mp4,{cell}\n")
    said = f"row 2: {name!r} is one class, or the 2 classes 'cat' and 'dog'; say which: --separator"
    assert refusal(path) == f'{said} ";" for one class, "{name[3]}" for several'
    assert labels_in(path, separator=name[3]) == ({"a": ("cat", "dog")}, [])
    assert labels_in(path, separator=";") == ({"a": (name,)}, [])


@pytest.mark.parametrize("cell", ["[cat", "{cat;dog}", '"[cat, dog]"'])
def test_a_cell_that_is_nearly_json(tmp_path, cell):
    path, text = write(tmp_path / "l.csv", f"video,label\na.mp4,{cell}\n"), cell.strip('"')
    assert f"{text!r} is nearly JSON; write cat" in refusal(path)
    assert labels_in(path, separator=";") == ({"a": tuple(sorted(text.split(";")))}, [])


TABLE = "video,start,end,labels\r\na.mp4,1.5,2.25,打架\r\nb.mp4,,,\r\n"
WITH_TABS, WITH_SEMICOLONS = TABLE.replace(",", "\t"), TABLE.replace(",", ";").replace(".5", ",5").replace(".25", ",25")


@pytest.mark.parametrize(
    ("name", "data", "encoding"),
    [
        ("l.csv", TABLE.encode("utf-8-sig"), None),
        ("l.csv", WITH_SEMICOLONS.encode("utf-8-sig"), None),
        ("l.csv", ("sep=;\r\n" + WITH_SEMICOLONS).encode(), None),
        ("l.txt", WITH_TABS.encode("utf-16"), None),
        ("l.csv", ("\ufeff" + WITH_TABS).encode("utf-16-be"), None),
        ("l.tsv", WITH_TABS.encode(), None),
        ("l.csv", TABLE.encode("gb18030"), "gb18030"),
        ("l.csv", TABLE.encode("utf-8-sig"), "utf-8"),
        ("l.csv", ("sep=;\r\n" + WITH_SEMICOLONS).encode("gbk"), "gbk"),
        ("l.csv", WITH_SEMICOLONS.replace("\r", ";;\r").encode("gbk"), "GBK"),
        ("l.csv", ("sep=;\r\n" + WITH_SEMICOLONS).encode("utf-16"), None),
        ("l.txt", WITH_TABS.replace(".", ",").replace(",mp4", ".mp4").encode("utf-16-le"), None),
        ("l.csv", TABLE.encode("utf-16-be"), None),
    ],
)
def test_what_spreadsheets_write(tmp_path, name, data, encoding):
    path = write(tmp_path / name, data)
    assert labels_in(path, encoding=encoding)[0] == {"a@1.5-2.25": ("打架",), "b": ()}


def test_an_encoding_that_must_be_guessed_is_named_by_the_user(tmp_path):
    path = write(tmp_path / "l.csv", TABLE.encode("gbk"))
    assert "is not UTF-8; save it as UTF-8 (in Excel: CSV UTF-8), or say what it is in" in refusal(path)
    assert refusal(path, encoding="ascii").startswith("byte 39 is not ASCII; ")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("62.5", 62.5), ("1:02", 62), ("1:02:03.5", 3723.5), ("90:00", 5400), ("0:00:05", 5), ("007", 7), ("0:0:62", None),
     ("1:75", None), ("1:60", None), ("0:60:00", None), ("75%", None), ("1,5", None), ("-3", None), ("inf", None),
     ("1e3", None),
     ("٣", None), ("5s", None), ("1:2:3:4:5", None), ("00:00:05;12", None), ("1_0", None), (":5", None), ("5.", None)],
)  # fmt: skip
def test_times(tmp_path, text, seconds):
    path = write(tmp_path / "l.csv", f'video,start,end,label\na.mp4,0,"{text}",cat\n')
    if seconds is None:
        assert refusal(path).startswith(f"row 2: {text!r} is not a time; write seconds, as 62.5")
    else:
        assert read_annotations(path) == [Annotation("a.mp4", ("cat",), 0.0, seconds)]


@pytest.mark.parametrize(
    ("text", "fps", "seconds"),
    [("00:00:05:12", 25, 5.48), ("01:00:00:00", 30, 3600), ("00:01:00:00", 29.97, 60.06), ("00:00:05:25", 25, None),
     ("00:61:00:00", 25, None), ("00:00:05:12", None, None)],
)  # fmt: skip
def test_timecodes(tmp_path, text, fps, seconds):
    """They count frames, so that they are no times without a frame rate."""
    path = write(tmp_path / "l.csv", f"video,start,end,label\na.mp4,0,{text},cat\n")
    if seconds is None:
        assert refusal(path, fps=fps).startswith(f"row 2: {text!r} {'is not a time' if fps else 'counts frames'}")
    else:
        (found,) = read_annotations(path, ReadOptions(fps=fps))
        assert found.end == pytest.approx(seconds, abs=0.0005)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("sep=;\nvideo;labels\na.mp4;cat\n;dog\n", {}, "row 4: it names no video"),
        (
            "video,label,class\na.mp4,cat,x\n",
            {},
            "the classes are in label or class, or in both; say which: --label_co",
        ),
        ("video,kind\na.mp4,cat\n", {}, "its columns are video,kind; begin it with video,labels"),
        ("video,labels\na.mp4,cat\n", {"columns": ("kind",)}, "its columns are video,labels; begin it with video,kind"),
        (
            "video;labels\na.mp4;cat;dog\n",
            {},
            'row 2: it has 3 cells, the header 2; several labels go into one cell, with ; between, in quotes: "',
        ),
        (f"video,labels\na.mp4,{'x' * 200_000}\n", {}, "not readable as a table"),
        ('video,labels\na.mp4,"cat\nb.mp4,dog\n', {}, r"row 2: 'cat\nb.mp4,dog' is one class, or the 2"),
        ("video,start,end,labels\na.mp4,1000.0000001,1000.0000002,cat\n", {}, "row 2: 1000 to 1000 s is not a part"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, options, says):
    assert refusal(write(tmp_path / "l.csv", text), **options).startswith(says)


def test_columns_of_a_table_can_be_chosen(tmp_path):
    path = write(tmp_path / "l.csv", "video,class,Kind,State\na.mp4,1a,cat,wet;old\n")
    assert labels_in(path, columns=("kind", "State"))[0] == {"a": ("cat", "old", "wet")}


# --- Colabeler, folders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"path": 5, "outputs": {}}, "path: it is of type int, not the path of a video"),
        ({"path": "a.mp4", "outputs": ["x"]}, "outputs: it is of type list, not an object"),
        ({"path": "a.mp4", "outputs": {"object": "cat"}}, "outputs.object: it is of type str, not a list"),
        ({"path": "a.mp4", "outputs": {"object": ["cat"]}}, "outputs.object[0]: it is of type str, not an object"),
        ({"path": "a.mp4", "outputs": {"object": [{"name": {"x": 1}}]}}, "outputs.object[0], name: it is of type dict"),
        ({"path": "", "outputs": {}}, "it names no video"),
    ],
)
def test_odd_documents_of_colabeler(tmp_path, document, says):
    assert refusal(write(tmp_path / "a.json", document)).startswith(says)


@pytest.mark.parametrize("labelled", [False, "false"])
def test_a_video_that_colabeler_marks_as_not_labelled(tmp_path, labelled):
    path = write(tmp_path / "a.json", {"path": "a.mp4", "outputs": {"object": [{"name": "cat"}]}, "labeled": labelled})
    assert refusal(path).startswith("it labels no video")


@pytest.mark.parametrize(
    "outputs", [None, {}, {"object": None}, {"object": {"item": []}}, {"object": [{"name": None}]}]
)
def test_a_video_without_objects_in_colabeler(tmp_path, outputs):
    assert labels_in(write(tmp_path / "a.json", {"path": "a.mp4", "outputs": outputs}))[0] == {"a": ()}


def test_xml_is_read_in_the_encoding_that_it_declares(tmp_path):
    text = "<?xml version='1.0' encoding='gbk'?><doc><path>D:\\打架.mp4</path>"
    text += "<outputs><object><name>打架</name></object></outputs></doc>"
    assert labels_in(write(tmp_path / "a.xml", text.encode("gbk")))[0] == {"打架": ("打架",)}
    undeclared = write(tmp_path / "c.xml", text.partition("?>")[2].encode("gbk"))
    assert labels_in(undeclared, encoding="gbk")[0] == {"打架": ("打架",)} and "--encoding gbk" in refusal(undeclared)
    assert "no-such is not an encoding" in refusal(write(tmp_path / "b.xml", text.replace("gbk", "no-such")))


def test_folders_of_clips(tmp_path):
    """The folder is the class, and tells clips of one name apart; clips that lie beside the folders have none."""
    folder = tmp_path / "clips"
    for name in ("cat/1.mp4", "cat/2.MOV", "dog/3.mp4", "dog/notes.txt", "4.mp4", "cat/._1.mp4", ".git/5.mp4"):
        write(folder / name, b"")
    assert labels_in(folder) == (
        {"1": ("cat",), "2": ("cat",), "3": ("dog",)},
        ["in no folder of a class, left out"],
    )
    write(folder / "dog" / "6\n.mp4", b"")
    assert labels_in(folder)[1][1].endswith("a name with control characters, or not in UTF-8: left out")
    write(folder / "cat" / "young" / "5.mp4", b"")
    assert refusal(folder).startswith("cat/young/5.mp4: it lies too deep")
    write(folder / "cat" / "young" / "5.mp4", b"").unlink()
    write(folder / "dog" / "1.mp4", b"")
    videos = [each.video for each in read_annotations(folder)]
    assert videos == ["cat/1.mp4", "cat/2.MOV", "dog/1.mp4", "dog/3.mp4"]


@pytest.mark.posix
def test_a_clip_of_two_classes_is_linked_to(tmp_path):
    write(tmp_path / "clips" / "cat" / "1.mp4", b"")
    write(tmp_path / "clips" / "dog" / "2.mp4", b"")
    (tmp_path / "clips" / "dog" / "1.mp4").symlink_to("../cat/1.mp4")
    (tmp_path / "clips" / "bird").symlink_to("dog")
    assert labels_in(tmp_path / "clips")[0] == {"1": ("bird", "cat", "dog"), "2": ("bird", "dog")}


@pytest.mark.parametrize(
    "header", ["file_name,start_time,end_time", "Video Name,Start (s),End (s)", "文件名,开始时间,结束时间"]
)
def test_names_that_columns_often_have(tmp_path, header):
    path = write(tmp_path / "l.csv", f"{header},label\na.mp4,1,12,goal\na.mp4,50,1:00,corner\n")
    assert labels_in(path) == ({"a@1-12": ("goal",), "a@50-60": ("corner",)}, [])


@pytest.mark.parametrize("columns", ["t_start,t_end", "begin frame,end frame", "时间码,时长"])
def test_columns_that_may_be_times_and_are_not_read_are_named(tmp_path, columns):
    """Without a word, the parts of a video would become one clip of all their classes."""
    path = write(tmp_path / "l.csv", f"video,{columns},gender,weekend,label\na.mp4,1,12,w,yes,goal\n")
    note = f"columns not read, though they may be times: {columns.replace(',', ', ')}"
    assert labels_in(path) == ({"a": ("goal",)}, [note])


def test_two_columns_of_one_meaning_must_agree(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text("video,path,labels\na.mp4,C:\\x\\a.mp4,cat\n,b.mp4,dog\n", encoding="utf-8")
    assert [each.video for each in read_annotations(path)] == ["a.mp4", "b.mp4"]
    path.write_text("video,file,labels\na.mp4,a.mp4,cat\na.mp4,b.mp4,dog\n", encoding="utf-8")
    with pytest.raises(AlstmError, match=r"row 3: two columns name its video, 'a.mp4' and 'b.mp4'; keep one"):
        read_annotations(path)
