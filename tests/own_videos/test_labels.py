"""Test readers of labels: every format gives the same annotations, and errors name the file and the row."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from alstm_helpers.data.class_names import read_classes
from alstm_helpers.errors import AlstmError, FolderInUse
from alstm_helpers.files import claimed
from alstm_helpers.own_videos.labels import Annotation, Imported, ReadOptions, import_labels, read_annotations


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text, ensure_ascii=False), encoding=encoding)
    return path


# --- CSV ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "video,labels\na.mp4,cat;dog\nb.mp4,\n",
        "video,labels\na.mp4,dog\na.mp4,cat\nb.mp4,\n\n",
        "\ufeffvideo,labels\r\na.mp4, dog ; cat \r\nb.mp4,\r\n",
        "File,Label\n/clips/a.mp4,cat;dog;cat\n/clips/b.mp4,;\n",
        "labels,split,视频\ncat;dog,x,a.mp4\n,y,b.mp4\n",
        'video,labels\n"a.mp4","cat;dog"\n"C:\\clips\\b.mp4",""\n',
    ],
)
def test_csv_of_whole_videos(tmp_path, text):
    path = write(tmp_path / "l.csv", text)
    assert read_annotations(path) == [Annotation("a.mp4", ("cat", "dog")), Annotation("b.mp4", ())]


def test_csv_of_parts(tmp_path):
    text = "video,start,end,label\na.mp4,3,5.5,cat\na.mp4,1:00,1:02:03.5,dog\na.mp4,3,5.5,bird\nb.mp4,,,cat\na.mp4,,,\n"
    assert read_annotations(write(tmp_path / "l.csv", text)) == [
        Annotation("a.mp4", ("bird", "cat"), 3.0, 5.5),
        Annotation("a.mp4", ("dog",), 60.0, 3723.5),
        Annotation("b.mp4", ("cat",)),
    ]


@pytest.mark.parametrize(
    "text, said",
    [
        ("name;labels\na;b\n", r"its columns are name;labels; begin it with video,labels"),
        ("", "its columns are none"),
        ("video,labels\n", "it labels no video; label some"),
        ("video,start,end,labels\na.mp4\n", "row 2: of the header's 4 cells it has 1; a cell may be empty"),
        ("video,labels\na.mp4,cat\nb.mp4,cat,dog\n", "row 3: it has 3 cells, the header 2; several labels go into one"),
        ("video,labels\n,cat\n", "row 2: it names no video"),
        ("video,start,end,label\na.mp4,3,,cat\n", "row 2: only one of start and end is given"),
        ("video,start,end,label\na.mp4,5,3,cat\n", "row 2: 5 to 3 s is not a part of a video"),
        ("video,start,end,label\na.mp4,soon,9,cat\n", "row 2: 'soon' is not a time"),
        ("video,start,end,label\na.mp4,nan,nan,cat\n", "row 2: 'nan' is not a time"),
        (
            "video,labels\na.mp4,cat\ny/a.mp4,dog\n",
            "row 3: a.mp4 and y/a.mp4 have the same file name; give",
        ),
        ("video,labels\na.mp4,c\x07t\n", r"row 2: .* is not a class name"),
        (
            "video,labels\nhttps://a.org/watch?v=1,cat\nhttps://a.org/watch?v=2,dog\n",
            r"row 3: https://a\.org/watch\?v=1 and https://a\.org/watch\?v=2 have the same file name; give",
        ),
        ("video,labels\na.mp4,قط، كلب\n", "row 2: 'قط، كلب' is one class, or the 2 classes 'قط' and 'كلب'"),
    ],
)
def test_unusable_csv(tmp_path, text, said):
    path = write(tmp_path / "l.csv", text)
    with pytest.raises(AlstmError, match=said) as caught:
        read_annotations(path)
    assert str(path) in str(caught.value)


def test_folders_tell_equal_names_apart(tmp_path):
    """Relative ones are kept; of absolute ones what is not the same for all of the import."""
    one = write(tmp_path / "1.csv", "video,labels\nwalk/01.mp4,walk\nrun\\01.mp4,run\n02.mp4,run\n")
    two = write(tmp_path / "2.csv", "video,labels\nwalk/01.mp4,fast\nclips/02.mp4,slow\n")
    assert import_labels([one, two], tmp_path / "out").annotations == [
        Annotation("clips/02.mp4", ("run", "slow")),
        Annotation("run/01.mp4", ("run",)),
        Annotation("walk/01.mp4", ("fast", "walk")),
    ]
    disks = [write(tmp_path / f"{n}.csv", f"video,labels\nD:\\v\\{n}\\a:b.mp4,cat\n") for n in ("x", "y")]
    found = import_labels(disks, tmp_path / "disks").annotations
    assert found == [Annotation("x/a:b.mp4", ("cat",)), Annotation("y/a:b.mp4", ("cat",))]
    assert read_annotations(disks[0]) == [Annotation("a:b.mp4", ("cat",))]
    bare = write(tmp_path / "3.csv", "video,labels\n01.mp4,run\n")
    with pytest.raises(AlstmError, match=r"3\.csv: 01\.mp4 may be run/01\.mp4 or walk/01\.mp4; write its"):
        import_labels([one, bare], tmp_path / "out")


def test_a_url_that_is_signed_anew_means_the_same_video(tmp_path):
    text = "video,labels\nhttps://a.org/x.mp4?token=1,cat\nhttps://a.org/x.mp4?token=2,dog\n"
    assert read_annotations(write(tmp_path / "l.csv", text)) == [Annotation("x.mp4", ("cat", "dog"))]


def test_another_encoding_is_named(tmp_path):
    path = write(tmp_path / "l.csv", "video,labels\na.mp4,烹饪\n", encoding="gb18030")
    with pytest.raises(AlstmError, match=r"byte 19 is not UTF-8; save it as UTF-8 \(in Excel: CSV UTF-8\)"):
        read_annotations(path)


# --- Label Studio -------------------------------------------------------------------------------------------------


def task(*results, video="/data/upload/1/0a1b2c3d-a.mp4", **more):
    return {
        "id": 1,
        "data": {"video": video},
        "annotations": [{"result": list(results), "was_cancelled": False}],
        **more,
    }


def choices(*names):
    return {"from_name": "class", "to_name": "video", "type": "choices", "value": {"choices": list(names)}}


def test_label_studio_choices(tmp_path):
    document = [
        task(choices("cat", "dog")),
        task(video="/data/local-files/?d=clips/b.mp4"),
        task(choices("cat"), video="https://example.org/c.mp4?token=x"),
        task(choices("bird"), video="s3://bucket/sub/d.mp4"),
    ]
    assert read_annotations(write(tmp_path / "p.json", document)) == [
        Annotation("a.mp4", ("cat", "dog")),
        Annotation("clips/b.mp4", ()),
        Annotation("https/example.org/c.mp4", ("cat",)),
        Annotation("s3/bucket/sub/d.mp4", ("bird",)),
    ]


def test_label_studio_cancelled_and_several_people(tmp_path):
    document = [task(choices("cat"))]
    document[0]["annotations"] += [{"result": [choices("wrong")], "was_cancelled": True}, {"result": [choices("dog")]}]
    assert read_annotations(write(tmp_path / "p.json", document)) == [Annotation("a.mp4", ("cat", "dog"))]


def test_label_studio_timeline_and_regions(tmp_path):
    """Frames count from 1; a tracked box labels the whole video; a region of sound has seconds."""
    value = {"ranges": [{"start": 26, "end": 75}, {"start": 101, "end": 125}], "timelinelabels": ["cat"]}
    timeline = {"type": "timelinelabels", "value": value}
    sound = {"type": "labels", "value": {"start": 1.5, "end": 2.5, "channel": 0, "labels": ["bark"]}}
    box = {"type": "videorectangle", "value": {"framesCount": 100, "sequence": [{"frame": 1}], "labels": ["car"]}}
    tree = {"type": "taxonomy", "value": {"taxonomy": [["animal", "bird"]]}}
    path = write(tmp_path / "p.json", [task(timeline, sound, box, tree)])
    assert read_annotations(path, ReadOptions(fps=25)) == [
        Annotation("a.mp4", ("bird", "car")),
        Annotation("a.mp4", ("cat",), 1.0, 3.0),
        Annotation("a.mp4", ("bark",), 1.5, 2.5),
        Annotation("a.mp4", ("cat",), 4.0, 5.0),
    ]
    with pytest.raises(AlstmError, match=r"task 1, .*: its labels on the timeline are counted in frames; .* --fps 25"):
        read_annotations(path)


def test_label_studio_min(tmp_path):
    document = [
        {"video": "/data/upload/1/0a1b2c3d-a.mp4", "id": 1, "class": {"choices": ["cat", "dog"]}, "annotator": 1,
         "annotation_id": 2, "created_at": "2026-01-01", "updated_at": "2026-01-01", "lead_time": 3.5},
        {"video": "b.mp4", "id": 2, "class": "cat", "annotator": 1},
        {"video": "c.mp4", "id": 3, "annotator": 1,
         "part": [{"ranges": [{"start": 1, "end": 10}], "timelinelabels": ["dog"]}]},
    ]  # fmt: skip
    assert read_annotations(write(tmp_path / "p.json", document), ReadOptions(fps=10)) == [
        Annotation("a.mp4", ("cat", "dog")),
        Annotation("b.mp4", ("cat",)),
        Annotation("c.mp4", ("dog",), 0.0, 1.0),
    ]


@pytest.mark.parametrize(
    "document, said",
    [
        ("{", "not readable as JSON"),
        ([1], "task 1: it is of type int; export Label Studio's JSON"),
        ([task(choices("x"), video="picture.png")], "task 1: it names no video file"),
        ([{"annotations": []}], "task 1: it names no video file"),
        ([], "it labels no video"),
        ("[" * 100_000, "not readable as JSON"),
    ],
)
def test_unusable_json(tmp_path, document, said):
    path = write(tmp_path / "p.json", document)
    with pytest.raises(AlstmError, match=said) as caught:
        read_annotations(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 1000


# --- Colabeler ----------------------------------------------------------------------------------------------------

COLABELER = {
    "path": "D:\\视频\\a.mp4",
    "outputs": {"object": [{"name": "猫", "bndbox": {"xmin": 1}}, {"name": "狗"}, {"name": "猫"}]},
    "time_labeled": 1600000000000,
    "labeled": True,
    "size": {"width": 640, "height": 480, "depth": 3},
}
XML = """<?xml version="1.0" encoding="utf-8"?>
<doc><path>D:\\视频\\a.mp4</path><outputs><object>
<item><name>猫</name><bndbox><xmin>1</xmin></bndbox></item><item><name>狗</name></item></object></outputs>
<time_labeled>1600000000000</time_labeled><labeled>true</labeled></doc>"""


def test_colabeler_s_json_and_xml_say_the_same(tmp_path):
    found = [Annotation("a.mp4", ("狗", "猫"))]
    assert read_annotations(write(tmp_path / "a.json", COLABELER)) == found
    assert read_annotations(write(tmp_path / "all.json", [COLABELER])) == found
    assert read_annotations(write(tmp_path / "a.xml", XML)) == found


def test_colabeler_s_export_as_pascal_voc(tmp_path):
    text = "<annotation><filename>a.mp4</filename><path>D:\\a.mp4</path><object><name>猫</name></object>"
    text += "<object><name>狗</name><bndbox><xmin>1</xmin></bndbox></object></annotation>"
    assert read_annotations(write(tmp_path / "a.xml", text)) == [Annotation("a.mp4", ("狗", "猫"))]


def test_colabeler_s_folder(tmp_path):
    """There is one file per video; unlabelled ones are left out, those without an object are kept."""
    folder = tmp_path / "outputs"
    write(folder / "a.json", COLABELER)
    write(folder / "b.json", {"path": "b.mp4", "outputs": {}, "labeled": False})
    write(folder / "c.json", {"path": "c.mp4", "outputs": {"object": []}, "labeled": True})
    write(folder / "d.xml", XML.replace("a.mp4", "d.mp4").replace("<item><name>狗</name></item>", ""))
    write(folder / "notes.txt", "x")
    write(folder / "._a.json", "what macOS keeps beside a.json on a disk of another system")
    assert [(each.video, each.labels) for each in read_annotations(folder)] == [
        ("a.mp4", ("狗", "猫")),
        ("c.mp4", ()),
        ("d.mp4", ("猫",)),
    ]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><doc><path>&b;</path></doc>'
FILE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><doc><path>&a;</path></doc>'


@pytest.mark.parametrize("text", ["<doc>", "", "no xml", "<other/>", BOMB, FILE])
def test_unusable_xml(tmp_path, text):
    path = write(tmp_path / "a.xml", text)
    with pytest.raises(AlstmError, match=r"a\.xml: (not readable as XML|it is neither)"):
        read_annotations(path)


# --- import -------------------------------------------------------------------------------------------------------


def test_folders_of_classes_and_tables_beside_them(tmp_path):
    """What an earlier import wrote into the folder is no table of it; another table is, and it is said."""
    for name in ("run/a.mp4", "walk/b.mp4"):
        write(tmp_path / "clips" / name, "")
    folder = tmp_path / "clips"
    first = import_labels([folder], folder)
    assert [each.labels for each in first.annotations] == [("run",), ("walk",)] and first.notes == []
    assert import_labels([folder], folder) == Imported(first.annotations, [], [])
    table = write(folder / "mine.csv", "video,label\nrun/a.mp4,fast\nwalk/b.mp4,slow\n")
    _, new, notes = import_labels([folder], tmp_path / "labels")
    said = "its tables are read, so its folders of videos are no classes: run, walk"
    assert new == ["fast", "slow"] and notes == [f"{folder}: {said}"]
    shutil.rmtree(folder / "walk")
    table.write_text("video,label\nrun/a.mp4,fast\n", encoding="utf-8")
    assert import_labels([folder], tmp_path / "one")[2] == []  # one folder of clips beside a table is usual


def test_classes_keep_their_index(tmp_path):
    out = tmp_path / "labels 标签"
    first = write(tmp_path / "1.csv", "video,labels\na.mp4,dog;ant\n")
    second = write(tmp_path / "2.csv", "video,labels\nb.mp4,bee;dog\nc.mp4,ape\n")
    found, new, notes = import_labels([first], out)
    assert notes == []
    assert new == ["ant", "dog"] and found == [Annotation("a.mp4", ("ant", "dog"))]
    _, new, notes = import_labels([second], out)
    assert new == ["ape", "bee"]
    assert notes == ["of an earlier import, and left out now: 1, such as a.mp4; name the files of all clips each time"]
    assert import_labels([first, second], out)[1:] == ([], [])
    assert read_classes(out / "labels.csv") == {"ant": 0, "dog": 1, "ape": 2, "bee": 3}


def test_the_output_can_be_imported_again(tmp_path):
    """The second import writes the same bytes."""
    text = "video,start,end,label\na.mp4,3,5.5,cat\nb.mp4,,,烹饪\nb.mp4,,,music\nc.mp4,,,\n"
    import_labels([write(tmp_path / "l.csv", text)], tmp_path / "one")
    import_labels([tmp_path / "one" / "annotations.csv"], tmp_path / "two")
    for name in ("annotations.csv", "labels.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    lines = (tmp_path / "one" / "annotations.csv").read_text("utf-8").splitlines()
    assert lines == ["video,start,end,labels", "a.mp4,3,5.5,cat", "b.mp4,,,music;烹饪", "c.mp4,,,"]


def test_two_imports_at_once_lose_no_class(tmp_path):
    """Whoever comes second waits, and goes on from the classes of the first."""
    exports = [write(tmp_path / f"{n}.csv", f"video,labels\n{n}.mp4,class {n}\n") for n in range(8)]
    with ThreadPoolExecutor(len(exports)) as threads:
        list(threads.map(lambda export: import_labels([export], tmp_path / "out"), exports))
    classes = read_classes(tmp_path / "out" / "labels.csv")
    assert sorted(classes.items()) == [(f"class {n}", classes[f"class {n}"]) for n in range(8)]
    assert sorted(classes.values()) == list(range(8))
    names = ["annotations.csv", "annotations.csv.sha256", "labels.csv", "labels.csv.sha256"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_an_import_that_never_ends_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("alstm_helpers.own_videos.labels._PATIENCE", 0)
    with claimed(tmp_path / "out"), pytest.raises(FolderInUse, match="out: another run is writing here; wait until"):
        import_labels([write(tmp_path / "l.csv", "video,labels\na.mp4,cat\n")], tmp_path / "out")


def test_classes_are_there_before_the_annotations_that_name_them(tmp_path, monkeypatch):
    """A run that is killed between both leaves classes without a video, which do no harm."""
    monkeypatch.setattr("alstm_helpers.own_videos.labels._rows_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        import_labels([write(tmp_path / "l.csv", "video,labels\na.mp4,cat\n")], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["labels.csv", "labels.csv.sha256"]


def test_classes_that_differ_only_in_case_are_a_mistake(tmp_path):
    path = write(tmp_path / "l.csv", "video,labels\na.mp4,Cat\nb.mp4,cat\n")
    with pytest.raises(AlstmError, match="'Cat' and 'cat' differ only in case; spell each class in one way"):
        import_labels([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    import_labels([write(tmp_path / "m.csv", "video,labels\na.mp4,cat\n")], tmp_path / "out")
    with pytest.raises(AlstmError, match=r"out.labels\.csv: 'cat' and 'Cat' differ only in case"):
        import_labels([write(tmp_path / "n.csv", "video,labels\na.mp4,Cat\n")], tmp_path / "out")


def test_other_sources(tmp_path):
    with pytest.raises(AlstmError, match=r"unknown format, with the suffix \.doc"):
        read_annotations(write(tmp_path / "a.doc", "x"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AlstmError, match="empty: neither an export nor a video in this folder; name"):
        read_annotations(tmp_path / "empty")


def test_the_id_of_a_part_names_its_seconds():
    assert Annotation("a b.mp4", ()).video_id == "a b"
    assert Annotation("a.b.mp4", (), 3.0, 5.5).video_id == "a.b@3-5.5"
