"""Weights by address: fetched once, resumed, verified, and a clear error where there is no network."""

from __future__ import annotations

import hashlib
import json

import pytest
from support import a_net

from alstm_helpers.data.published import PUBLISHED_WEIGHTS, cache_folder, fetch_weights, is_address
from alstm_helpers.data.transfer import Retry
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import claimed
from alstm_helpers.model.weights import load_arrays, save_weights

NAME = "net.pdparams"
IMPATIENT = Retry(attempts=3, timeout=0.5, pause=0.01)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache 缓存"))
    return tmp_path / "cache 缓存"


@pytest.fixture
def content(server, tiny_config, tmp_path):
    save_weights(a_net(tiny_config), tmp_path / NAME)
    server.files[NAME] = (tmp_path / NAME).read_bytes()
    return server.files[NAME]


def fetch(server, fragment="", **options):
    return fetch_weights(f"{server.url}/some/{NAME}{fragment}", retry=IMPATIENT, **options)


def test_fetched_once_and_then_from_the_cache(server, cache, content):
    path = fetch(server)
    assert path.read_bytes() == content and cache in path.parents and path.name == NAME
    assert set(load_arrays(path)) > {"fc_logit.weight"}
    server.files.clear()  # no server is asked again
    assert fetch(server) == path and server.gets == [NAME]
    record = json.loads((path.parent / "fetched.json").read_text(encoding="utf-8"))
    assert record["sha256"] == hashlib.sha256(content).hexdigest() and record["bytes"] == len(content)


def test_a_file_has_a_folder_of_its_address_which_one_run_writes_to(server, cache, content):
    folder = cache / hashlib.sha256(f"{server.url}/some/{NAME}".encode()).hexdigest()[:12]
    with claimed(folder), pytest.raises(AlstmError, match="another run is writing here"):
        fetch(server)
    assert fetch(server).parent == folder
    with claimed(folder):  # several processes may use what is there
        assert fetch(server).parent == folder


@pytest.mark.parametrize(
    ("path", "name"), [("/", "weights.pdparams"), ("/some/", "some"), (f"/a/{NAME}?token=b/c&d", NAME)]
)
def test_an_address_is_asked_for_as_it_is(server, cache, content, path, name):
    server.files[path.rpartition("/")[2]] = content
    assert fetch_weights(f"{server.url}{path}", retry=IMPATIENT).name == name
    assert server.paths == [path]


def test_an_interrupted_file_is_resumed(server, cache, content):
    server.faults[NAME] = ["cuts off"]
    assert fetch(server).read_bytes() == content
    assert server.gets == [NAME, NAME] and server.ranges and server.ranges[0] != "bytes=0-"


def test_what_an_earlier_run_left_of_a_file_without_a_checksum_is_not_continued(server, cache, content):
    """It may be of another version; with a checksum that would be noticed, and is worth a try."""
    sha256 = hashlib.sha256(content).hexdigest()
    for fragment, ranges in (("", []), (f"#sha256={sha256}", ["bytes=100-"])):
        path = fetch(server, fragment)
        path.replace(path.with_name(f".{NAME}.part"))
        path.with_name(f".{NAME}.part").write_bytes(content[:100] if fragment else b"another version")
        server.ranges.clear()
        assert fetch(server, fragment).read_bytes() == content and server.ranges == ranges


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(server, cache, content):
    path = fetch(server)
    path.write_bytes(content[:-1])
    assert fetch(server).read_bytes() == content and len(server.gets) == 2


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text.replace("sha256", "sha257"), lambda text: "[]"])
def test_a_damaged_record_of_the_cache_costs_one_more_fetch(server, cache, content, damage):
    record = fetch(server).parent / "fetched.json"
    record.write_text(damage(record.read_text()))
    for _ in range(2):
        assert fetch(server).read_bytes() == content
    assert server.gets == [NAME, NAME]


def test_the_md5_that_the_server_names_is_checked(server, cache, content):
    server.etags[NAME] = f'"{hashlib.md5(content).hexdigest()}"'
    server.faults[NAME] = ["wrong file"]
    assert fetch(server).read_bytes() == content and len(server.gets) == 2
    server.faults[NAME] = ["wrong file"] * 3
    next(cache.rglob(NAME)).unlink()
    with pytest.raises(
        AlstmError, match=rf"{NAME}: its md5 differs .*3 times; run the same command again, or download it"
    ):
        fetch(server)
    assert not list(cache.rglob(NAME))


def test_an_address_that_has_moved_is_followed(server, cache, content):
    server.etags[NAME] = f'"{hashlib.md5(content).hexdigest()}"'
    assert fetch_weights(f"{server.url}/moved/{NAME}", retry=IMPATIENT).read_bytes() == content
    assert server.paths == [f"/new/{NAME}"]


@pytest.mark.parametrize("end", [f"{NAME}?signature=a/b&until=3", f"folder/{NAME}?x"])
def test_the_query_of_an_address_goes_with_it(server, cache, content, end):
    for name in (end.rpartition("/")[2], end):
        server.files[name] = content
    path = fetch_weights(f"{server.url}/some/{end}", retry=IMPATIENT)
    assert path.name == NAME and path.read_bytes() == content and server.paths == [f"/some/{end}"]


@pytest.mark.parametrize("end", ["..", "a/.."])
def test_an_address_without_a_name_gets_one(server, cache, content, end):
    server.files |= dict.fromkeys(("", "..", "some"), content)  # clients take .. out of an address
    path = fetch_weights(f"{server.url}/some/{end}", retry=IMPATIENT)
    assert path.name == "weights.pdparams" and path.parent.parent == cache and path.read_bytes() == content


def test_another_kind_of_etag_is_not_an_md5(server, cache, content):
    server.etags[NAME] = 'W/"67ab43"'
    assert fetch(server).read_bytes() == content


def test_a_pinned_sha256(server, cache, content):
    right = hashlib.sha256(content).hexdigest()
    with pytest.raises(AlstmError, match=rf"{NAME}: its SHA-256 is {right}, not the one after the #"):
        fetch(server, f"#sha256={'0' * 64}")
    assert not list(cache.rglob(NAME))
    path = fetch(server, f"#sha256={right.upper()}")
    with pytest.raises(AlstmError, match="not the one after the #"):  # what is in the cache is checked, too
        fetch(server, f"#sha256={'0' * 64}")
    assert path.exists()


def test_files_of_one_name_from_two_places_are_two(server, cache, content):
    first = fetch(server)
    second = fetch_weights(f"{server.url}/other/{NAME}", retry=IMPATIENT)
    assert first != second and len(server.gets) == 2


def test_offline(cache, server, content):
    server.shutdown()
    server.server_close()
    with pytest.raises(
        AlstmError, match=r"net\.pdparams: no answer \(\w+\); download it where there is a network, .* instead$"
    ):
        fetch(server)
    assert not list(cache.rglob(NAME))


def test_a_server_without_the_file(cache, server):
    with pytest.raises(AlstmError, match=r"net\.pdparams: the server answers 404; download it"):
        fetch(server)


def test_published_is_paddlevideo_s(monkeypatch, cache):
    asked = []

    class Session:
        def head(self, url, **settings):
            asked.append(url)
            raise __import__("requests").ConnectionError

    monkeypatch.setattr("alstm_helpers.data.published.requests.Session", Session)
    with pytest.raises(AlstmError, match=r"AttentionLSTM_yt8\.pdparams: no answer"):
        fetch_weights("published")
    assert asked == [PUBLISHED_WEIGHTS]


@pytest.fixture
def mirror(server, monkeypatch):
    """A mirror of published files that keeps a path of its own in front of theirs."""
    monkeypatch.setenv("ALSTM_WEIGHTS_MIRROR", f"{server.url}/weights/")
    return f"{server.url}/weights"


def test_a_mirror_has_published_files_under_the_same_path(server, cache, mirror):
    name = PUBLISHED_WEIGHTS.rpartition("/")[2]
    server.files[name] = b"weights"
    path = fetch_weights("published", retry=IMPATIENT)
    assert path.read_bytes() == b"weights"
    assert server.paths == [f"/weights/PaddleVideo-release2.2/{name}"]
    record = json.loads((path.parent / "fetched.json").read_text(encoding="utf-8"))
    assert record["url"] == f"{mirror}/PaddleVideo-release2.2/{name}"


def test_a_mirror_cannot_change_a_file_whose_md5_is_known(server, cache, mirror, content):
    url, md5 = f"https://paddle.invalid/models/{NAME}", hashlib.md5(content).hexdigest()
    path = fetch_weights(url, md5=md5, retry=IMPATIENT)
    assert server.paths == [f"/weights/models/{NAME}"] and path.read_bytes() == content
    path.unlink()
    server.files[NAME] = content[::-1]
    server.etags[NAME] = f'"{hashlib.md5(content[::-1]).hexdigest()}"'  # what the mirror says about it does not count
    with pytest.raises(AlstmError, match=rf"{mirror}/models/{NAME}: its md5 differs"):
        fetch_weights(url, md5=md5, retry=IMPATIENT)
    assert not list(cache.rglob(NAME))


def test_an_address_of_your_own_is_not_looked_up_at_the_mirror(server, cache, mirror, content):
    fetch(server)
    assert server.paths == [f"/some/{NAME}"]


@pytest.mark.parametrize(
    "weights, expected",
    [("published", True), ("https://x/y", True), ("http://x/y", True), ("data/x.pdparams", False), ("https", False)],
)
def test_what_is_an_address(weights, expected):
    assert is_address(weights) is expected


def test_the_cache_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("ALSTM_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "alstm_helpers"


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_that_knows_no_head(server, cache, content, status):
    server.head_status = status
    assert fetch(server).read_bytes() == content


@pytest.mark.parametrize("fragment", ["#abc", "#sha256=abc", "#md5=" + "0" * 32])
def test_a_malformed_checksum_is_refused_before_anything_is_fetched(server, cache, content, fragment):
    with pytest.raises(AlstmError, match=r"the text after # is not a checksum; write #sha256="):
        fetch(server, fragment)
    assert server.gets == []
