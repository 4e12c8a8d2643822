"""Class names and indices, read from the tables that people have, and written so that they can be read again."""

from __future__ import annotations

import re

import numpy as np
import pytest

from alstm_helpers.data.class_names import best_labels, class_name, read_class_names, read_classes, write_classes
from alstm_helpers.errors import AlstmError

# --- names by index ---------------------------------------------------------------------------------------------

VOCABULARY = """\
Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,Vertical3,WikiDescription
2,415890,/m/07yv9,Vehicle,https://en.wikipedia.org/wiki/Vehicle,Autos & Vehicles,,,"A vehicle, such as
a wagon, is ""mobile""."
0,788288,/m/03bt1gh,Game,https://en.wikipedia.org/wiki/Game,Games,,,A game
3084,129,/m/0h7h6, Leading space,,,,,
1,539945,/m/01mw1,,,Games,,,
"""


def names_of(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "names.csv"
    path.write_bytes(text.encode(encoding))
    return read_class_names(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_names_of_a_vocabulary_with_all_its_traps(tmp_path, encoding, newline):
    """Rows not in index order, an empty name, a leading space, quoted commas and line breaks, a BOM."""
    found = names_of(tmp_path, VOCABULARY.replace("\n", newline), encoding)
    assert found == {2: "Vehicle", 0: "Game", 3084: "Leading space", 1: "class 1"}


def test_names_of_labels_csv(tmp_path, tiny_data):
    found = read_class_names(tiny_data / "labels.csv")
    assert found[0] == "see 0" and found[19] == "hear 9" and len(found) == 20
    assert names_of(tmp_path, "index,name\n1,看\n0,é\n") == {1: "看", 0: "é"}


def test_names_of_the_real_vocabulary(real_data):
    names = read_class_names(real_data / "vocabulary.csv")
    assert sorted(names) == list(range(3862))
    assert (names[0], names[1], names[2], names[11]) == ("Game", "Video game", "Vehicle", "Food")
    assert sum(name == f"class {index}" for index, name in names.items()) == 56
    assert all(name == name.strip() and name for name in names.values())


@pytest.mark.parametrize("text", ["index,label\n0,Game\n", "Game,0\n1,Vehicle\n", "index,name\n0,Game\n1\n"])
def test_a_table_without_index_or_name_is_refused(tmp_path, text):
    with pytest.raises(AlstmError, match=r"names\.csv.*index,name"):
        names_of(tmp_path, text)


def test_the_row_at_fault_is_named(tmp_path):
    with pytest.raises(AlstmError, match=r"(row|line) 4"):
        names_of(tmp_path, "index,name\n0,Game\n1,Game\nx,Vehicle\n")


def test_a_table_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(AlstmError, match=r"names\.csv"):
        names_of(tmp_path, "index,name\n0,café\n", "latin-1")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(AlstmError, match=r"none\.csv: no such file; .*class_names"):
        read_class_names(tmp_path / "none.csv")


# --- indices by name --------------------------------------------------------------------------------------------


def test_classes_are_read_as_they_were_written(tmp_path):
    classes = {"b": 0, "cat, big": 2, "烹饪": 1}
    write_classes(tmp_path / "labels.csv", classes)
    assert (tmp_path / "labels.csv").read_bytes() == 'index,name\n0,b\n1,烹饪\n2,"cat, big"\n'.encode()
    assert read_classes(tmp_path / "labels.csv") == classes
    assert read_class_names(tmp_path / "labels.csv") == {index: name for name, index in classes.items()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("index,name\n0,a\n0,b\n", "row 3: 0 is not a new index"),
        ("index,name\n0,a\n1,a\n", "row 3: there is a class a already"),
        ("index,name\n0,é\n1, e\u0301 \n", "row 3: there is a class é already"),
        ("index,name\n-1,a\n", "row 2: -1 is not a new index"),
        ("index,name\n99999999,a\n", "row 2: 99999999 is not a new index"),
        ("index,name\n1_0,a\n", "row 2: 1_0 is not a new index"),
        ("index,name\n,a\n", "row 2: nothing is not a new index"),
        ("index;name\n0;a\n", "row 2: no index or no name"),
        ("name\na\n", "row 2: no index or no name"),
        ("index,name\n0,a\n1\n", "row 3: no index or no name"),
        ("index,name\nx,a\n", "row 2: x is not a new index"),
        ("index,name\n0,\n", "row 2: '' is not a class name"),
        ("index,name\n0,a\x1b[31mb\n", "row 2: 'a\\x1b[31mb' is not a class name"),
        ("index,name\n0,a\u200bb\n", "row 2: 'a\\u200bb' is not a class name"),
        ('index,name\n0,"a\nb"\n', "row 2: 'a\\nb' is not a class name"),
        (f"index,name\n0,{'a' * 201}\n", "row 2: 'aaaa"),
        (f"index,name\n0,{'a' * 200_000}\n", "not readable as a table"),
    ],
)
def test_a_list_of_classes_that_cannot_be_used(tmp_path, text, says):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AlstmError) as caught:
        read_classes(path)
    assert re.match(rf"{re.escape(str(path))}[,:] {re.escape(says)}.*; .", str(caught.value))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" cat ", "cat"),
        ("black\u00a0\u3000 cat", "black cat"),
        ("cafe\u0301", "café"),
        ("=1+2", "=1+2"),
        ("👩\u200d🚒", "👩\u200d🚒"),
        ("a" * 200, "a" * 200),
    ],
)
def test_a_class_name_has_one_spelling(text, name):
    assert class_name("here", text) == name


# --- labels of a video ------------------------------------------------------------------------------------------


def test_best_labels_come_best_first_and_named():
    scores = np.array([0.123456, 0.9, 0.5], np.float32)
    assert best_labels(scores, 2, {1: "cat"}, digits=2) == [
        {"index": 1, "name": "cat", "score": 0.9},
        {"index": 2, "name": None, "score": 0.5},
    ]
    assert best_labels(scores, 3)[2]["score"] == float(scores[0])


@pytest.mark.parametrize("blank", [" ", "\t", "\x1c", "\u3000"])
def test_an_index_among_blanks_of_any_kind(tmp_path, blank):
    (tmp_path / "labels.csv").write_text(f"index,name\n{blank}1{blank},cat\n", encoding="utf-8")
    assert read_classes(tmp_path / "labels.csv") == {"cat": 1}
