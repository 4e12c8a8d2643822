"""Fuzz the readers of labels: whatever is in a file, it is read, or refused in one sentence.

``ALSTM_FUZZ=10000`` tries that many files of each kind.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from alstm_helpers.errors import AlstmError, one_line
from alstm_helpers.own_videos.label_formats import READERS
from alstm_helpers.own_videos.labels import ReadOptions, import_labels, read_imported

FILES = int(os.environ.get("ALSTM_FUZZ", "800"))

RESULTS = [
    {"type": "choices", "value": {"choices": ["cat", "dog"]}},
    {"type": "taxonomy", "value": {"taxonomy": [["animal", "bird"], ["plant"]]}},
    {"type": "labels", "value": {"start": 1.5, "end": 2.5, "channel": 0, "labels": ["bark"]}},
    {"type": "timelinelabels", "value": {"ranges": [{"start": 26, "end": 75}], "timelinelabels": ["run"]}},
    {"type": "videorectangle", "value": {"sequence": [{"frame": 1}], "labels": ["car"]}},
    {"type": "textarea", "value": {"text": ["so so"]}},
]
TASK = {
    "id": 1,
    "data": {"video": "/data/upload/1/0a1b2c3d-a.mp4", "title": "x"},
    "annotations": [{"id": 5, "was_cancelled": False, "result": RESULTS}],
    "predictions": [],
}
RECORD = {
    "video": "s3://bucket/b.mp4",
    "title": "x",
    "id": 1,
    "kind": {"choices": ["cat", "dog"]},
    "choice": "cat",
    "line": [RESULTS[3]["value"]],
    "annotation_id": 3,
    "lead_time": 2.5,
}
COLABELER = {"path": "D:\\c.mp4", "labeled": True, "outputs": {"object": [{"name": "cat", "bndbox": {"xmin": 1}}]}}
VIA = {
    "attribute": {"1": {"aname": "kind", "type": 2, "options": {"1": "cat", "2": "dog"}}, "2": {"aname": "title"}},
    "file": {"1": {"fname": "a.mp4", "loc": 1}, "2": {"loc": 2, "src": "http://h/b.mp4"}},
    "view": {"1": {"fid_list": [1]}, "2": {"fid_list": ["2"]}},
    "metadata": {
        "1_a": {"vid": "1", "z": [1, 2.5], "av": {"1": "1,2", "2": "x"}},
        "1_b": {"vid": "2", "z": [], "av": {"1": "2"}},
    },
}
ACTIONS = {
    "fps": 5,
    "gts": [{"url": "a.mp4", "actions": [{"label_names": ["cat"], "label_ids": [1], "start_id": 3, "end_id": 4.5}]}],
}
SEGMENTS = {"version": "1", "database": {"a": {"annotations": [{"segment": [1, 2], "label": "cat"}, {"label": "dog"}]}}}
DOCUMENTS: list[Any] = [
    *([TASK, TASK], [RECORD], COLABELER, [COLABELER, TASK]),
    *(VIA, ACTIONS, SEGMENTS, SEGMENTS["database"]),
]
TABLES = [
    "video,labels\na.mp4,cat;dog\nb.mp4,\n",
    "video;start;end;labels\r\na.mp4;1,5;1:02:03.5;cat\r\n",
    'video,annotation_id,lead_time,kind\na.mp4,1,2,"{""choices"":[""cat""]}"\n',
    "sep=;\nvideo;labels\na.mp4;cat\n",
    "video\tstart\tend\tlabel\na.mp4\t00:00:05:12\t0:00:09\tcat\n",
    'video,labels\na.mp4,"[{""start"":1,""end"":2,""labels"":[""cat""]}]"\n',
]
CSV_OF_VIA = (
    "# Exported using VGG Image Annotator\n# CSV_HEADER = metadata_id,file_list,temporal_coordinates,metadata\n"
    '"1_a","[""a.mp4""]","[1,2]","{""label"":""cat""}"\n"1_b","[""b.mp4""]","[]","{""label"":""dog""}"\n'
)
LIST = "run/01.mp4 cat\nwalk/01.mp4 dog;cat\n"
CVAT = (
    "<annotations><meta><task><id>1</id><size>9</size><frame_filter>step=2</frame_filter><source>a.mp4</source></task>"
    '</meta><track id="0" label="cat"><box frame="0" outside="0"/><box frame="6" outside="1"/></track>'
    '<image id="3" name="f"><tag label="dog"/></image><image name="b.mp4"><tag label="dog"/></image></annotations>'
)
XML = (
    "<?xml version='1.0' encoding='utf-8'?><doc><path>D:\\a.mp4</path>"
    "<outputs><object><item><name>猫</name></item></object></outputs><labeled>true</labeled></doc>"
)
TEXTS = [
    "",
    " ",
    "a.mp4",
    "x\x1b[0m",
    "\ud800",
    "a\nb",
    "a;b",
    "a,b",
    "x" * 300,
    "1e5",
    "\u200b",
    "://",
    '"',
    "{",
    "&a;",
]
VALUES: list[Any] = [
    *TEXTS, None, True, 0, -1, 10**400, 1e308, float("nan"), float("inf"), [], {}, [None], [[]], [{}], {"a": 1},
    [["cat"]], {"start": 1}, {"choices": 5}, {"text": "x"}, {"item": 3}, "b.mp4", "/data/upload/1/0a1b2c3d-%ff.mp4",
]  # fmt: skip
ENCODINGS = [*[None] * 9, "gbk", "utf-16", "rot13"]


def containers(value: Any) -> Iterator[Any]:
    """Yield the objects and lists in a document that hold something, itself first."""
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


def any_document(rng: random.Random) -> tuple[str, bytes]:
    """Replace or remove values anywhere in a valid export."""
    document = deepcopy(rng.choice(DOCUMENTS))
    for _ in range(rng.randint(1, 3)):
        if not (found := list(containers(document))):
            break
        inside = rng.choice(found)
        key = rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        if rng.random() < 0.3:
            del inside[key]
        else:
            inside[key] = deepcopy(rng.choice(VALUES))
    return ".json", json.dumps(document).encode()


def any_table(rng: random.Random) -> tuple[str, bytes]:
    """Replace pieces of valid tables and of XML."""
    text = rng.choice([*TABLES, CSV_OF_VIA, LIST, XML, CVAT])
    suffix = ".xml" if text[:1] == "<" else rng.choice([".csv", ".tsv", ".txt", ".list"])
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(len(text) + 1)
        text = (
            text[:at] + rng.choice([*TEXTS, "\t", ";", ",", "\n", "[", "<", "9", ":"]) + text[at + rng.randint(0, 5) :]
        )
    encoding = rng.choice(["utf-8", "utf-8", "utf-16", "gb18030"])
    return suffix, text.encode(encoding, "replace" if encoding == "gb18030" else "surrogatepass")


def any_bytes(rng: random.Random) -> tuple[str, bytes]:
    """Change bytes of a valid file, or make them up."""
    if rng.random() < 0.3:
        return rng.choice(sorted(READERS)), rng.randbytes(rng.randint(0, 60))
    suffix, data = rng.choice([any_document, any_table])(rng)
    changed = bytearray(data)
    for _ in range(rng.randint(1, 2)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return suffix, bytes(changed if rng.random() < 0.8 else changed[: rng.randrange(len(changed))])


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", [any_document, any_table, any_bytes])
def test_any_file_is_read_or_refused(tmp_path, monkeypatch, kind):
    """What is imported can be read again as it was; what is not leaves nothing behind."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    rng, read = random.Random(0), 0
    for number in range(FILES):
        suffix, data = kind(rng)
        options = ReadOptions(
            rng.choice([None, 25.0, 29.97]),
            rng.choice([None, None, ",", "|"]),
            rng.choice([(), (), (), ("kind",), ("labels", "title")]),
            rng.choice(ENCODINGS),
        )
        path = tmp_path / f"export{suffix}"
        path.write_bytes(data)
        read += reads(path, tmp_path / f"out{number}", options)
    assert read > FILES / 100  # the fuzz reaches the end of the readers


def reads(path: Path, out: Path, options: ReadOptions) -> bool:
    """Import a file; tell whether it was read."""
    try:
        done = import_labels([path], out, options)
    except AlstmError as error:
        assert len(str(error)) < 6000 and str(error) == one_line(str(error)) and not out.exists()
        return False
    except BaseException as error:
        error.add_note(f"{path.read_bytes()!r}, {options}")
        raise
    assert read_imported(out) == done.annotations and [*map(one_line, done.notes)] == done.notes
    return True
