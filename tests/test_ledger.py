"""The ledger: a row is in the file as soon as it is added, whatever a crash leaves is read, and the end is sorted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from alstm_helpers.errors import AlstmError, FolderInUse
from alstm_helpers.ledger import Ledger, LedgerRow

ROWS: list[LedgerRow] = [{"shard": "b", "videos": 2}, {"shard": "a", "videos": 1}, {"shard": "类\u2028c", "videos": 3}]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out 数据" / "manifest.jsonl"


def text_of(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def written(path, *rows, then=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text_of(*rows).encode() + then)
    return path


def settled(path, rows=ROWS):
    return path.read_bytes() == text_of(*sorted(rows, key=lambda row: row["shard"])).encode()


def test_a_ledger_without_a_file_is_empty_and_writes_none(path):
    ledger = Ledger(path, "shard")
    assert ledger.rows == {} and ledger.is_settled
    with ledger.claimed():
        pass
    assert list(path.parent.iterdir()) == []


def test_a_row_is_in_the_file_as_soon_as_it_is_added(path):
    ledger = Ledger(path, "shard")
    with ledger.claimed():
        for number, row in enumerate(ROWS, 1):
            ledger.add(row)
            assert path.read_bytes() == text_of(*ROWS[:number]).encode()
            assert Ledger(path, "shard").rows == {each["shard"]: each for each in ROWS[:number]}
        settled_early = ledger.is_settled
    assert not settled_early
    assert ledger.is_settled and settled(path)


def test_a_settled_file_is_left_alone(path):
    first = Ledger(path, "shard")
    with first.claimed():
        first.add_all(ROWS)
    before = path.stat().st_mtime_ns, path.stat().st_ino
    ledger = Ledger(path, "shard")
    assert ledger.is_settled
    with ledger.claimed():
        pass
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_rows_of_an_earlier_version_are_believed_and_get_sums(path):
    written(path, *sorted(ROWS, key=lambda row: row["shard"]))
    ledger = Ledger(path, "shard")
    assert list(ledger.rows.values()) == sorted(ROWS, key=lambda row: row["shard"]) and not ledger.is_settled
    with ledger.claimed():
        assert Ledger(path, "shard").rows == ledger.rows  # already, so that a row added now is not the only one
        ledger.add({"shard": "d", "videos": 4})
        assert len(Ledger(path, "shard").rows) == 4
    assert Ledger(path, "shard").is_settled


@pytest.mark.parametrize("step", range(3))
def test_a_crash_while_a_file_is_settled_loses_no_row(path, monkeypatch, step):
    ledger, first = Ledger(path, "shard"), {"shard": "0", "videos": 4}
    with ledger.claimed():
        ledger.add_all(ROWS)
    before = Ledger(path, "shard").rows
    writes = iter(range(9))

    def crash(*_: object) -> None:
        if next(writes) == step:
            raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(KeyboardInterrupt), ledger.claimed():
        ledger.add(first)
    monkeypatch.undo()
    assert Ledger(path, "shard").rows == {**before, "0": first}


def test_a_later_row_replaces_an_earlier_one(path):
    written(path, ROWS[0], {"shard": "b", "videos": 7})
    ledger = Ledger(path, "shard")
    assert ledger.rows == {"b": {"shard": "b", "videos": 7}} and not ledger.is_settled
    ledger.settle()
    assert settled(path, [{"shard": "b", "videos": 7}])


@pytest.mark.parametrize(
    "garbage",
    [
        b'{"shard": "c',
        '{"shard": "类'.encode()[:-1],
        b"[1]\n",
        b"3\n",
        b'"shard"\n',
        b'{"videos": 1}\n',
        b'{"shard": 5}\n',
        b'{"shard": ["c"]}\n',
        b"\n",
        b"\xff\xfe\n",
    ],
)
def test_a_line_that_is_no_row_is_skipped_and_goes_when_the_file_is_settled(path, garbage):
    written(path, ROWS[1], ROWS[0], then=garbage)
    ledger = Ledger(path, "shard")
    assert list(ledger.rows) == ["a", "b"] and not ledger.is_settled
    with ledger.claimed():
        ledger.add(ROWS[2])
        assert Ledger(path, "shard").rows == ledger.rows  # the new row does not continue the line that was cut off
    assert settled(path)


def test_every_cut_of_the_file_keeps_the_rows_before_it(path):
    whole = text_of(*ROWS).encode()
    ends = [len(text_of(*ROWS[:number]).encode()) for number in range(1, 4)]
    for size in range(len(whole) + 1):
        written(path).write_bytes(whole[:size])
        ledger = Ledger(path, "shard")
        complete = sum(end - 1 <= size for end in ends)  # a row needs no line end
        assert list(ledger.rows.values()) == ROWS[:complete]
        with ledger.claimed():
            for row in ROWS[complete:]:
                ledger.add(row)
        assert settled(path), size


def test_the_ascii_escapes_of_earlier_versions_are_read_and_rewritten(path):
    written(path, then="".join(json.dumps(row) + "\n" for row in ROWS).encode())
    ledger = Ledger(path, "shard")
    assert list(ledger.rows.values()) == ROWS and not ledger.is_settled
    ledger.settle()
    assert settled(path)


def test_rows_are_read_again_once_the_folder_is_claimed(path):
    ledger = Ledger(path, "shard")
    written(path, ROWS[0])  # by a run that has ended meanwhile
    with ledger.claimed():
        assert list(ledger.rows) == ["b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_the_rows_and_settles_nothing(path, error):
    with pytest.raises(error), Ledger(path, "shard").claimed():
        Ledger(path, "shard").add_all(ROWS[:2])
        raise error
    assert path.read_bytes() == text_of(*ROWS[:2]).encode()


def test_a_claimed_folder_is_refused_to_others(path, tmp_path):
    with Ledger(path, "shard").claimed(tmp_path / "more"):
        for other in (path, tmp_path / "more" / "manifest.jsonl"):
            with pytest.raises(FolderInUse), Ledger(other, "shard").claimed():
                pass


# --- outcomes of work -------------------------------------------------------------------------------------------

BROKEN = [AlstmError("z", "broken", "repair it"), AlstmError("y", "broken", "repair it")]


def test_rows_are_added_and_errors_are_collected(path):
    ledger = Ledger(path, "shard")
    with ledger.claimed():
        done, failed = ledger.add_all([ROWS[0], BROKEN[0], ROWS[1], BROKEN[1]])
    assert done == ROWS[:2] and failed == BROKEN[::-1]  # sorted by message
    assert settled(path, ROWS[:2])


def test_the_first_error_ends_the_work_where_asked_for(path):
    written(path)
    ledger = Ledger(path, "shard")
    rest: Iterator[LedgerRow | AlstmError] = iter([ROWS[0], BROKEN[0], ROWS[1]])
    with pytest.raises(AlstmError) as caught:
        ledger.add_all(rest, keep_going=False)
    assert caught.value is BROKEN[0] and list(rest) == [ROWS[1]]
    assert list(Ledger(path, "shard").rows) == ["b"]
