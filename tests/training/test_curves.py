"""VisualDL's files, also after a kill and a resume, and its pages in a browser."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import window
from matplotlib import colormaps
from PIL import Image
from visualdl import LogReader

from alstm_helpers.errors import AlstmError
from alstm_helpers.loopback import HOST, listens
from alstm_helpers.training.curves import Curves, attention_image, pr_curve, serve

RGB = np.array([[0.2, 0.8, 0.0], [0.5, 0.5, 0.0]], dtype=np.float32)
AUDIO = np.array([[0.4, 0.2, 0.4], [0.0, 1.0, 0.0]], dtype=np.float32)
LENGTHS = np.array([3, 2])
COUNTS = np.arange(100), np.arange(100)[::-1]


def read(folder: Path) -> dict[str, dict[int, Any]]:
    """Read the only file of a folder with VisualDL's own reader: values by tag, then by step, each step once."""
    (log,) = folder.iterdir()
    reader = LogReader(file_path=str(log))
    found: dict[str, dict[int, Any]] = {}
    for component, tags in reader.get_tags().items():
        for tag in tags if component != "meta_data" else ():
            values = reader.get_data(component, tag)
            found[tag] = {value.id: getattr(value, "value" if component == "scalar" else component) for value in values}
            assert len(values) == len(found[tag]), f"{tag} has a step twice"
    return found


def steps(folder: Path) -> dict[str, list[int]]:
    return {tag: list(points) for tag, points in read(folder).items()}


def write(curves: Curves, numbers: range, seed: int = 0) -> None:
    for step in numbers:
        curves.add("train", step, {"loss": seed + 1 / step})
        curves.add_attention(step, RGB, AUDIO, LENGTHS)
        curves.add_scores(step, *COUNTS)


def each(numbers: list[int]) -> dict[str, list[int]]:
    """Return these steps under every tag that :func:`write` draws."""
    return {tag: numbers for tag in ("train/loss", "valid/attention", "valid/scores")}


@pytest.fixture
def killed(tmp_path):
    """Make the folder of a run that drew 4 steps and was killed within a record; its checkpoint is at step 2."""
    folder = tmp_path / "killed"
    curves = Curves(folder)
    curves.add_text("config", "first", 0)
    write(curves, range(1, 5))
    curves.close()
    (log,) = folder.iterdir()
    with log.open("ab") as file:
        file.write((1000).to_bytes(8, "little") + b"torn")
    return folder


# --- what is written --------------------------------------------------------------------------------------------


def test_a_damaged_file_costs_its_points_and_never_the_run(killed, tmp_path):
    """Every bit of the first records, and some of the others: what can be read of it is carried over."""
    (log,) = killed.iterdir()
    content = log.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*range(8, 60), *rng.integers(len(content), size=50).tolist()]:
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        log.write_bytes(damaged)
        Curves(tmp_path / str(at), earlier=killed, step=2).close()
        assert len(list((tmp_path / str(at)).iterdir())) == 1


def test_numbers(tmp_path):
    curves = Curves(tmp_path)
    curves.add("valid", 12, {"gap": 0.25, "loss": 3})
    curves.add("train", 13, {"learning_rate": 0.5})
    curves.close()
    assert read(tmp_path) == {"valid/gap": {12: 0.25}, "valid/loss": {12: 3}, "train/learning_rate": {13: 0.5}}


def test_warnings_are_shown_as_before(tmp_path):
    before = list(warnings.filters)
    Curves(tmp_path).close()
    assert warnings.filters == before


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    curves = Curves(None, earlier=tmp_path, step=3)
    write(curves, range(1, 3))
    curves.add_text("config", "text", 0)
    curves.flush()
    curves.close()
    assert list(tmp_path.iterdir()) == []


def test_precision_and_recall_by_hand(tmp_path):
    """True labels: one score below 1/4, two in the third quarter; false ones: three below 1/4, one in the second."""
    positives, negatives = np.array([1, 0, 2, 0]), np.array([3, 1, 0, 0])
    curve = {key: values.tolist() for key, values in pr_curve(positives, negatives).items()}
    assert curve["tp"] == [3, 2, 2, 0] and curve["fp"] == [4, 1, 0, 0]
    assert curve["fn"] == [0, 1, 1, 3] and curve["tn"] == [0, 3, 4, 4]
    assert curve["precision"] == pytest.approx([3 / 7, 2 / 3, 1, 1])  # without a score: as at the threshold below
    assert curve["recall"] == pytest.approx([1, 2 / 3, 2 / 3, 0])
    curves = Curves(tmp_path)
    curves.add_scores(7, positives, negatives)
    curves.close()
    stored = read(tmp_path)["valid/scores"][7]
    (value,) = LogReader(file_path=str(next(tmp_path.iterdir()))).get_data("pr_curve", "valid/scores")
    assert value.timestamp / 1000 == pytest.approx(time.time(), abs=60)
    names = {"tp": "TP", "fp": "FP", "tn": "TN", "fn": "FN"}
    assert {key: list(getattr(stored, names.get(key, key))) for key in curve} == curve


def test_precision_stays_where_the_scores_end():
    curve = pr_curve(np.array([1, 1, 0, 0]), np.array([5, 3, 0, 0]))
    assert curve["precision"].tolist() == [0.2, 0.25, 0.25, 0.25]


@pytest.mark.filterwarnings("error")
def test_no_scores_at_all():
    curve = pr_curve(np.zeros(3, int), np.zeros(3, int))
    assert all(values.tolist() == [0, 0, 0] for values in curve.values())


def test_counts_of_the_full_split_fit(tmp_path):
    """1.1 million videos have more than four billion scores."""
    curves = Curves(tmp_path)
    curves.add_scores(1, np.array([0, 3_000_000]), np.array([4_300_000_000, 0]))
    curves.close()
    assert list(read(tmp_path)["valid/scores"][1].TN) == [0, 4_300_000_000]


@pytest.mark.filterwarnings("error")
def test_attention_image():
    """Each band is scaled by its own largest weight, rgb above audio; padding and gaps."""
    image = attention_image(RGB, AUDIO, LENGTHS)
    assert image.shape == (60, 480, 3) and image.dtype == np.uint8
    cells = image[6::12, 80::160][[0, 1, 2, 3]]  # the middles of the first video's bands, then gap and first band
    viridis = colormaps["viridis"]
    assert cells[0].tolist() == [list(viridis(share, bytes=True)[:3]) for share in (0.25, 1.0, 0.0)]
    assert cells[1].tolist() == [list(viridis(share, bytes=True)[:3]) for share in (1.0, 0.5, 1.0)]
    assert (image[24:30] == 255).all() and (image[54:] == 255).all()
    assert image[42, 80].tolist() == list(viridis(0.0, bytes=True)[:3])  # the second video's audio
    assert image[42, 240].tolist() == list(viridis(1.0, bytes=True)[:3])
    assert (image[30:54, 320:] == 200).all() and not (image[30:54, :320] == 200).all(axis=2).any()
    attention_image(np.zeros((1, 1)), np.zeros((1, 1)), np.array([0]))  # a video without a frame


def test_long_videos_make_no_huge_images():
    assert attention_image(np.ones((8, 300)), np.ones((8, 300)), np.full(8, 300)).shape == (240, 600, 3)


@pytest.mark.posix
def test_flushed_points_survive_a_kill(tmp_path):
    code = "import os, signal, sys; from pathlib import Path; from alstm_helpers.training.curves import Curves; "
    code += "curves = Curves(Path(sys.argv[1])); "
    code += "[curves.add('train', step, {'loss': 0.5}) for step in range(100)]; "
    code += "curves.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert steps(tmp_path) == {"train/loss": list(range(100))}


# --- a resume ---------------------------------------------------------------------------------------------------


def test_a_resume_carries_over_the_points_up_to_its_checkpoint(killed):
    curves = Curves(killed, earlier=killed, step=2)
    write(curves, range(3, 6), seed=1)
    curves.close()
    found = read(killed)
    assert steps(killed) == {"config": [0], **each([1, 2, 3, 4, 5])}
    assert found["train/loss"] == pytest.approx({1: 1, 2: 1 / 2, 3: 4 / 3, 4: 5 / 4, 5: 6 / 5})
    image = Image.open(io.BytesIO(found["valid/attention"][2].encoded_image_string))
    assert np.array_equal(np.asarray(image), attention_image(RGB, AUDIO, LENGTHS))
    assert found["config"][0].encoded_text_string == "first"


def test_a_resume_into_another_folder(killed, tmp_path):
    content, other = next(killed.iterdir()).read_bytes(), tmp_path / "other"
    for step in (1, 2):  # the content of the other folder is replaced
        curves = Curves(other, earlier=killed, step=step)
        curves.close()
    assert next(killed.iterdir()).read_bytes() == content
    assert steps(other) == {"config": [0], **each([1, 2])}


@pytest.mark.parametrize("earlier", [None, Path("missing")])
def test_a_new_run_replaces_what_was_there(killed, earlier):
    curves = Curves(killed, earlier=earlier, step=9)
    write(curves, range(1, 2))
    curves.close()
    assert steps(killed) == each([1])


def test_a_run_adds_its_settings_once(killed):
    """Even if it is the second run from this checkpoint; the settings of other starts stay."""
    for text in ("second", "third"):
        curves = Curves(killed, earlier=killed, step=2)
        curves.add_text("config", text, 2)
        curves.close()
    texts = {step: value.encoded_text_string for step, value in read(killed)["config"].items()}
    assert texts == {0: "first", 2: "third"}


def test_old_files_go_when_all_is_in_the_new_one(killed, tmp_path, monkeypatch):
    """After a kill just before, the new file has everything, and VisualDL shows it, as the last by name."""
    old = {path.name for path in killed.iterdir()}

    def kill(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", kill)
        Curves(killed, earlier=killed, step=2)
    new = max(killed.iterdir())
    assert len(list(killed.iterdir())) == 2 and new.name not in old
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(new, alone)
    assert steps(alone) == {"config": [0], **each([1, 2])}
    Curves(killed, earlier=killed, step=2).close()  # with both there
    assert steps(killed) == steps(alone)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_a_kill_while_carrying_over_loses_nothing(killed, share):
    (old,) = killed.iterdir()
    content = old.read_bytes()
    Curves(killed, earlier=killed, step=2).close()
    (new,) = killed.iterdir()
    new.write_bytes(new.read_bytes()[: int(share * new.stat().st_size)])
    old.write_bytes(content)
    Curves(killed, earlier=killed, step=2).close()
    assert steps(killed) == {"config": [0], **each([1, 2])}


# --- the server -------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    port = free_port()
    server = serve(folder, port)
    try:
        yield f"http://{HOST}:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.mark.posix
def test_the_server_does_not_outlive_the_process_that_started_it(tmp_path):
    port = free_port()
    code = "import sys; from alstm_helpers.training.curves import serve; serve(sys.argv[1], int(sys.argv[2])); input()"
    command = [sys.executable, "-c", code, str(tmp_path), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as notebook:
        deadline = time.monotonic() + 60
        while not listens(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert listens(port)
        notebook.kill()
    deadline = time.monotonic() + 20
    while listens(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not listens(port)


def test_serve_says_what_is_wrong(tmp_path):
    with pytest.raises(AlstmError, match=r"nowhere: no such folder; train first"):
        serve(tmp_path / "nowhere")
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AlstmError, match=f"port {port}: another program is listening there; .*{port + 1}"):
            serve(tmp_path, port)


def test_the_port_that_is_taken_unless_told_otherwise(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("alstm_helpers.training.curves.start_server", lambda *args, **more: asked.append((args, more)))
    serve(tmp_path)
    [((arguments, port), more)] = asked
    assert port == int(arguments[arguments.index("--port") + 1]) == 8040
    assert more == {"wait_seconds": 30, "by_hand": ["visualdl", *arguments[2:]]}


def test_a_server_that_is_too_slow_is_stopped(tmp_path, monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with pytest.raises(AlstmError, match="the server did not start"):
        serve(tmp_path, free_port(), wait_seconds=0)
    assert started[0].wait(timeout=10) != 0


def test_serve_answers_on_this_machine_only(tmp_path):
    """Even while another connection is open and requests nothing, as browsers do."""
    with served(tmp_path) as url:
        port = int(url.rpartition(":")[2])
        request = urllib.request.Request(f"{url}/app/scalar", headers={"Accept-Language": "en"})
        with socket.create_connection((HOST, port)), urllib.request.urlopen(request, timeout=20) as page:
            assert b"VisualDL" in page.read()
        with pytest.raises(OSError):  # a server for all networks would answer at this address of the machine, too
            socket.create_connection(("127.0.0.2", port), timeout=2)


# --- in a browser -----------------------------------------------------------------------------------------------


def falls(pixels: np.ndarray) -> bool:
    """Return whether a blue line falls from left to right without a gap, as wide as a chart.

    The bar at the top and the settings on the right, which are blue, too, are cut off.
    """
    area = pixels[150:, :1100].astype(int)
    rows, columns = np.nonzero(area[..., 2] - area[..., 0] > 80)  # that blue, also at half opacity on white
    places = np.unique(columns)
    if len(places) < 300 or len(places) < 0.95 * (places[-1] - places[0]):
        return False
    heights = [rows[columns == place].mean() for place in places]
    return bool(np.corrcoef(places, heights)[0, 1] > 0.9)  # rows count from above


def test_a_browser_draws_the_curves(tmp_path):
    curves = Curves(tmp_path / "visualdl")
    curves.add_text("config", "text", 0)
    for step in range(1, 51):
        curves.add("train", step, {"loss": 3 - step / 20})
        curves.add("valid", step, {"loss": 3 - step / 30})
    curves.add_attention(50, RGB, AUDIO, LENGTHS)
    curves.add_scores(50, *COUNTS)
    curves.close()

    brightest = colormaps["viridis"](1.0, bytes=True)[:3]
    looks = {"scalar": falls, "pr-curve": falls}
    looks["image"] = lambda pixels: bool((pixels == brightest).all(axis=2).sum() > 1000)
    with served(tmp_path / "visualdl") as url, window() as seen:
        for page, look in looks.items():
            seen.page.goto(f"{url}/app/{page}")
            assert seen.shows(look), page
        assert {host for host in seen.hosts if host} == {url.removeprefix("http://")}


def test_a_browser_draws_no_curve_without_points(tmp_path):
    (tmp_path / "visualdl").mkdir()
    with served(tmp_path / "visualdl") as url, window() as seen:
        seen.page.goto(f"{url}/app/scalar", wait_until="networkidle")
        assert not seen.shows(falls, seconds=2) and seen.pixels().shape == (1000, 1400, 3)
