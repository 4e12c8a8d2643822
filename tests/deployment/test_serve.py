"""The HTTP server: correct answers, and one sentence of JSON for every bad payload."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import psutil
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support import a_net, score_all, unequal_videos

from alstm_helpers.deployment.export import export
from alstm_helpers.deployment.predictor import Predictor
from alstm_helpers.deployment.serve import MAX_BYTES, create_app, parse
from alstm_helpers.errors import AlstmError
from alstm_helpers.loopback import free_port, start_server


@pytest.fixture(scope="module")
def net(tiny_config):
    return a_net(tiny_config)


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "model 模型"
    export(net, folder, onnx=True, class_names={7: "看 7"})
    return folder


@pytest.fixture(scope="module")
def client(folder):
    return TestClient(create_app(Predictor(folder), top_k=5), raise_server_exceptions=False)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def a_payload(seconds=12, seed=0):
    rgb, audio, _ = unequal_videos([seconds], seed=seed)
    return {"rgb": rgb[0], "audio": audio[0]}


def as_json(payload):
    return json.dumps({name: array.tolist() for name, array in payload.items()})


JSON = {"content-type": "application/json; charset=utf-8"}


@pytest.mark.parametrize("seconds", [1, 12, 300])
def test_the_answer_equals_the_trainer(client, net, seconds):
    payload = a_payload(seconds)
    batch = payload["rgb"][None], payload["audio"][None], np.array([seconds])
    expected = score_all(net, batch)
    for answer in (
        client.post("/predict", content=npz(**payload)),
        client.post("/predict", content=as_json(payload), headers=JSON),
    ):
        assert answer.status_code == 200
        found = answer.json()
        scores = [label["score"] for label in found["labels"]]
        assert [label["index"] for label in found["labels"]] == np.argsort(-expected.scores[0])[:5].tolist()
        assert scores == pytest.approx(np.sort(expected.scores[0])[::-1][:5].tolist(), abs=1e-5)
        assert found["attention"]["rgb"] == pytest.approx(expected.rgb_attention[0].tolist(), abs=1e-5)
        assert len(found["attention"]["audio"]) == seconds
        names = {label["index"]: label["name"] for label in found["labels"]}
        assert all(name == ("看 7" if index == 7 else f"class {index}") for index, name in names.items())


def test_health(client):
    answer = client.get("/health")
    assert answer.json() == {"model": "model.onnx", "classes": 20}


PAYLOAD = a_payload(3)
WRONG = {
    "empty": (b"", {}, "the payload: it cannot be read"),
    "no archive": (b"hello", {}, "the payload: it cannot be read"),
    "one array missing": (npz(rgb=PAYLOAD["rgb"]), {}, "audio.npy"),
    "a pickle inside": (npz(rgb=np.array([{}], dtype=object), audio=PAYLOAD["audio"]), {}, "Object arrays"),
    "floats": (npz(rgb=PAYLOAD["rgb"] / 255, audio=PAYLOAD["audio"]), {}, "rgb: it is float64"),
    "another width": (npz(rgb=PAYLOAD["audio"], audio=PAYLOAD["audio"]), {}, r"rgb: it is uint8 (3, 128)"),
    "a batch": (npz(rgb=PAYLOAD["rgb"][None], audio=PAYLOAD["audio"]), {}, "(1, 3, 1024)"),
    "no second": (npz(rgb=PAYLOAD["rgb"][:0], audio=PAYLOAD["audio"][:0]), {}, "0 s of rgb, 0 s of audio"),
    "too many seconds": (npz(rgb=np.zeros((301, 1024), np.uint8), audio=PAYLOAD["audio"]), {}, "301 s of rgb"),
    "unequal seconds": (npz(rgb=PAYLOAD["rgb"][:2], audio=PAYLOAD["audio"]), {}, "2 s of rgb, 3 s of audio"),
    "no JSON": (b"{", JSON, "JSONDecodeError"),
    "JSON of another shape": (b"[]", JSON, "the payload: it cannot be read (TypeError"),
    "JSON with fractions": (b'{"rgb": [[0.5]], "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
    "JSON out of range": (b'{"rgb": [[256]], "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
    "JSON below range": (b'{"rgb": [[-1]], "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
    "JSON ragged": (b'{"rgb": [[1], [1, 2]], "audio": [[1]]}', JSON, "the payload: it cannot be read (ValueError"),
    "JSON with text": (b'{"rgb": [["a"]], "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
    "JSON too deep": (b"[" * 100_000, JSON, "RecursionError"),
    "JSON with a null": (b'{"rgb": null, "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_payload_is_one_sentence(client, name):
    body, headers, expected = WRONG[name]
    answer = client.post("/predict", content=body, headers=headers)
    assert answer.status_code == 400 and list(answer.json()) == ["error"]
    assert expected in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_other_paths_and_methods_answer_in_json(client):
    assert client.get("/nothing").status_code == 404 and client.get("/nothing").json() == {"error": "Not Found"}
    assert client.get("/predict").status_code == 405 and "error" in client.get("/predict").json()
    for path in ("/docs", "/redoc", "/openapi.json"):  # pages that would load scripts from the network
        assert client.get(path).status_code == 404


def test_a_payload_that_is_too_large_is_refused_before_it_is_whole(folder):
    sent = []

    def parts():
        for _ in range(100):
            sent.append(1)
            yield b"x" * 1000

    client = TestClient(create_app(Predictor(folder), max_bytes=5000))
    answer = client.post("/predict", content=parts())
    assert answer.status_code == 413 and "more than 5,000 bytes" in answer.json()["error"]
    assert client.post("/predict", content=b"x" * 5000).status_code == 400


def test_the_longest_video_fits_in_both_forms():
    payload = {"rgb": np.full((300, 1024), 255, np.uint8), "audio": np.full((300, 128), 255, np.uint8)}
    assert len(as_json(payload)) <= MAX_BYTES and len(npz(**payload)) <= MAX_BYTES


def test_an_archive_cannot_unpack_into_more_than_a_video():
    """A gigabyte of zeros, compressed to a megabyte, with a correct header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("rgb.npy", "w") as member:
        header = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 1024)}
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(2**10):
            member.write(bytes(2**20))
    assert len(file.getvalue()) < MAX_BYTES
    start = time.process_time()
    with pytest.raises(AlstmError, match="the payload: it cannot be read"):
        parse(file.getvalue(), "")
    assert time.process_time() - start < 1  # unpacking everything takes several


@given(st.binary(max_size=300), st.sampled_from(["application/json", ""]))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused(body, kind):
    with pytest.raises(AlstmError):
        parse(body, kind)


@given(st.integers(0, 10**6), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_damaged_archive_is_refused_or_read(place, value):
    body = bytearray(npz(**PAYLOAD))
    body[place % len(body)] = value
    try:
        arrays = parse(bytes(body), "")
    except AlstmError:
        return
    assert arrays["rgb"].shape == (3, 1024)


def test_an_internal_error_reveals_no_details(folder, monkeypatch):
    predictor = Predictor(folder)
    monkeypatch.setattr(predictor, "_run", lambda arrays: 1 / 0)
    client = TestClient(create_app(predictor), raise_server_exceptions=False)
    answer = client.post("/predict", content=npz(**PAYLOAD))
    assert answer.status_code == 500 and answer.json() == {"error": "internal error: ZeroDivisionError"}


@pytest.fixture(scope="module")
def served(folder):
    port = free_port()
    process = start_server(["-m", "alstm_helpers", "serve", str(folder), "--port", str(port), "--infer_topk=3"], port)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=20)


def test_many_clients_at_once(served, net):
    """Each of eight clients gets the answers for its own videos."""
    wrong: list[tuple[int, int]] = []

    def client(seed):
        for number in range(5):
            payload = a_payload(5 + seed + number, seed=seed)
            found = requests.post(f"{served}/predict", data=npz(**payload), timeout=20).json()
            if abs(found["labels"][0]["score"] - expected[seed, number]) > 1e-5 or len(found["labels"]) != 3:
                wrong.append((seed, number))

    expected = {}
    for seed in range(8):
        for number in range(5):
            payload = a_payload(5 + seed + number, seed=seed)
            batch = payload["rgb"][None], payload["audio"][None], np.array([len(payload["rgb"])])
            expected[seed, number] = float(score_all(net, batch).scores.max())
    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_the_server_listens_on_the_loopback_only(served):
    port = int(served.rpartition(":")[2])
    mine = [child for child in psutil.Process().children() if str(port) in child.cmdline()]
    listening = [item.laddr for child in mine for item in child.net_connections() if item.status == "LISTEN"]
    assert listening == [("127.0.0.1", port)]


def test_a_port_in_use(served, folder):
    port = served.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "alstm_helpers", "serve", str(folder), "--port", port],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: port {port}: another program is listening there; pass another port")


def test_a_server_that_does_not_start_is_named():
    with pytest.raises(AlstmError, match=r"port \d+: the server did not start; run it by hand: python -c 1/0"):
        start_server(["-c", "1/0"], free_port())
