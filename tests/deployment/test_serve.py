"""The HTTP server: correct answers, and one sentence of JSON for every bad payload."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import cast

import numpy as np
import psutil
import pytest
import requests
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from support import a_net, default_of, score_all, serving, unequal_videos

from alstm_helpers.commands import deployment as commands
from alstm_helpers.deployment import serve
from alstm_helpers.deployment.export import export
from alstm_helpers.deployment.predictor import Prediction, Predictor
from alstm_helpers.deployment.serve import MAX_BYTES, create_app, parse
from alstm_helpers.deployment.videos import Videos
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
    return a_client(Predictor(folder), top_k=5)


def a_client(predictor, **options):
    return TestClient(create_app(predictor, **options), base_url="http://127.0.0.1", raise_server_exceptions=False)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
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


def test_one_request_at_a_time_is_parsed_and_scored(monkeypatch):
    """The model uses all its threads for each, and parsed JSON takes much memory."""
    busy = []

    class Model:
        class_names = None

        def __call__(self, rgb, audio, lengths):
            busy.append(responder._lock.locked())
            return Prediction(np.linspace(0, 1, 30)[None], np.ones((1, 3)), np.ones((1, 3)))

    def watched(*payload):
        busy.append(responder._lock.locked())
        return parse(*payload)

    monkeypatch.setattr(serve, "parse", watched)
    responder = serve.Responder(cast(Predictor, Model()), 2)
    found = responder.answer(npz(**a_payload(3)), "")
    assert [label["index"] for label in found["labels"]] == [29, 28] and busy == [True, True]
    client = a_client(Model())
    assert len(client.post("/predict", content=npz(**a_payload(3))).json()["labels"]) == 20
    assert default_of(commands.serve, "--infer_topk") == 20


def test_a_server_that_is_stopped_answers_for_five_more_seconds(folder, monkeypatch):
    class Server:
        def __init__(self, config):
            assert (config.timeout_graceful_shutdown, config.log_level) == (5, "error")

        def run(self, sockets):
            assert sockets == [listener]

    monkeypatch.setattr("uvicorn.Server", Server)
    with socket.socket() as listener:
        serve.run_server(Predictor(folder), listener, top_k=1)


def test_limits():
    """Of 300 seconds as JSON with the longest numbers; of requests at once; of seconds in which one arrives."""
    assert (MAX_BYTES, serve.AT_ONCE, serve.PATIENCE, serve.RATE) == (6 * 300 * 1152, 32, 30, 100_000)


@pytest.mark.parametrize(("count", "problem"), [(1200, "JSONDecodeError"), (1201, "ValueError: more lists")])
def test_json_has_at_most_four_lists_per_second(count, problem):
    with pytest.raises(AlstmError, match=problem):
        parse(b'{"' + b"[" * (count - 2), "application/json")


def test_an_archive_has_at_most_eight_files():
    payload = a_payload(3)
    assert parse(npz(**payload, **{f"a{number}": np.zeros(1) for number in range(6)}), "")["rgb"].shape == (3, 1024)
    with pytest.raises(AlstmError, match="more than 8 files in it"):
        parse(npz(**payload, **{f"a{number}": np.zeros(1) for number in range(7)}), "")


@pytest.mark.parametrize(("size", "fits"), [(4096, True), (4097, False)])
@pytest.mark.parametrize("version", [1, 2])
def test_a_header_of_an_array_has_at_most_4096_bytes(size, fits, version):
    payload, digits = a_payload(300), 2 * version
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {payload['rgb'].shape}}}".encode()
    text = text.ljust(size - 8 - digits)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        header = b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(digits, "little") + text
        archive.writestr("rgb.npy", header + payload["rgb"].tobytes())
        archive.writestr("audio.npy", npy(payload["audio"]))
    if fits:
        assert np.array_equal(parse(file.getvalue(), "")["rgb"], payload["rgb"])
    else:
        with pytest.raises(AlstmError, match="it cannot be read"):
            parse(file.getvalue(), "")


def test_no_pickle_is_read_even_past_the_check_of_the_header(monkeypatch):
    monkeypatch.setattr(serve, "_check_header", lambda *_: None)
    with pytest.raises(AlstmError, match="Object arrays cannot be loaded"):
        parse(npz(rgb=np.array([{}], dtype=object), audio=PAYLOAD["audio"]), "")


def test_a_client_that_goes_in_the_middle_is_no_internal_error(client, monkeypatch):
    async def broken_off(*_, **__):
        raise ClientDisconnect

    monkeypatch.setattr(serve, "_read", broken_off)
    answer = client.post("/predict", content=b"")
    assert answer.status_code == 400 and answer.json() == {"error": "the request was not sent to its end"}


def test_what_a_request_says_is_repeated_to_a_hundred_characters(client):
    answer = client.get("/health", headers={"host": "x" * 101})
    assert answer.json()["error"].startswith(f"this is not '{'x' * 100}'; ask")


def test_health(client):
    answer = client.get("/health")
    assert answer.json() == {"model": "model.onnx", "classes": 20, "video": None}


PAYLOAD = a_payload(3)
WRONG = {
    "empty": (b"", {}, "the payload: it cannot be read"),
    "no archive": (b"hello", {}, "the payload: it cannot be read"),
    "one array missing": (npz(rgb=PAYLOAD["rgb"]), {}, "audio.npy"),
    "a pickle inside": (npz(rgb=np.array([{}], dtype=object), audio=PAYLOAD["audio"]), {}, "rgb: it is object (1,)"),
    "floats": (npz(rgb=PAYLOAD["rgb"] / 255, audio=PAYLOAD["audio"]), {}, "rgb: it is float64"),
    "another width": (npz(rgb=PAYLOAD["audio"], audio=PAYLOAD["audio"]), {}, r"rgb: it is uint8 (3, 128)"),
    "a batch": (npz(rgb=PAYLOAD["rgb"][None], audio=PAYLOAD["audio"]), {}, "(1, 3, 1024)"),
    "no second": (npz(rgb=PAYLOAD["rgb"][:0], audio=PAYLOAD["audio"][:0]), {}, "0 s of rgb, 0 s of audio"),
    "too many seconds": (
        npz(rgb=np.zeros((301, 1024), np.uint8), audio=PAYLOAD["audio"]),
        {},
        "rgb: it has 301 seconds; send at most 300",
    ),
    "forty lies": (npz(**{f"a{number}": PAYLOAD["rgb"] for number in range(40)}), {}, "more than 8 files in it"),
    "a header of its own": (npz(rgb=np.zeros((1, 1024), [("a" * 5000, "u1")]), audio=PAYLOAD["audio"]), {}, "rgb"),
    "JSON as npz": (b'{"rgb": [[1]]}', {}, "or JSON under Content-Type: application/json"),
    "JSON with true": (json.dumps({"rgb": [[True] * 1024], "audio": [[1] * 128]}).encode(), JSON, "whole numbers"),
    "unequal seconds": (npz(rgb=PAYLOAD["rgb"][:2], audio=PAYLOAD["audio"]), {}, "2 s of rgb, 3 s of audio"),
    "no JSON": (b"{", JSON, "JSONDecodeError"),
    "JSON of another shape": (b"[]", JSON, "the payload: it cannot be read (TypeError"),
    "JSON with fractions": (b'{"rgb": [[0.5]], "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
    "JSON out of range": (b'{"rgb": [[256]], "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
    "JSON below range": (b'{"rgb": [[-1]], "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
    "JSON ragged": (
        b'{"rgb": [[1], [1, 2]], "audio": [[1]]}',
        JSON,
        "rgb: second 0 has 1 numbers; send 1024 per second",
    ),
    "JSON with text": (b'{"rgb": [["a"]], "audio": [[1]]}', JSON, "whole numbers 0 to 255"),
    "JSON too deep": (b"[" * 100_000, JSON, "more lists, objects or texts than 300 seconds have"),
    "JSON with a null": (b'{"rgb": null, "audio": [[1]]}', JSON, "rgb is not a list of lists"),
    "JSON with a number": (b'{"rgb": 1000000000, "audio": [[1]]}', JSON, "rgb is not a list of lists"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_payload_is_one_sentence(client, name):
    body, headers, expected = WRONG[name]
    answer = client.post("/predict", content=body, headers=headers)
    assert answer.status_code == 400 and list(answer.json()) == ["error"]
    assert expected in answer.json()["error"] and "\n" not in answer.json()["error"]


VIDEOS = {
    "said": (b"x", {"content-type": "Video/mp4; codecs=avc1"}),
    "MP4": (b"\0\0\0\x20ftypisom", {}),
    "WebM": (b"\x1aE\xdf\xa3\x9f", {}),
    "GIF": (b"GIF89a", {"content-type": "application/json"}),
    "AVI": (b"RIFF\x0a\0\0\0AVI LIST", {}),
    "larger than features": (b"\0\0\0\x20ftypisom" + bytes(MAX_BYTES), {}),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_file_is_told_where_it_belongs(client, name):
    body, headers = VIDEOS[name]
    answer = client.post("/predict", content=body, headers=headers)
    problem = "the payload: it is a video file, and this server labels features only; start it with --features DIR, "
    assert answer.status_code == 400 and answer.json()["error"].startswith(problem)

    async def label(path):
        return {"bytes": path.stat().st_size}

    model = cast(Predictor, SimpleNamespace(class_names=None))
    both = a_client(model, videos=Videos(label, 2 * MAX_BYTES))
    answer = both.post("/predict", content=body, headers=headers)
    told = {"error": "the payload: it is a video file, and /predict takes features; send it to /video"}
    assert answer.status_code == 400 and answer.json() == told
    assert both.post("/video", content=body, headers=headers).json() == {"bytes": len(body)}


def test_other_paths_and_methods_answer_in_json(client):
    assert client.get("/nothing").status_code == 404 and client.get("/nothing").json() == {"error": "Not Found"}
    assert client.get("/predict").status_code == 405 and "error" in client.get("/predict").json()
    for path in ("/docs", "/redoc", "/openapi.json"):  # pages that would load scripts from the network
        assert client.get(path).status_code == 404


def test_a_payload_that_is_too_large_is_refused_before_it_is_whole(folder):
    """Asked without TestClient, which reads a payload to its end before it sends it."""
    app, taken, sent = create_app(Predictor(folder), max_bytes=5000), [], []

    async def receive():
        taken.append(b"x" * 1000)
        return {"type": "http.request", "body": taken[-1], "more_body": len(taken) < 100}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"127.0.0.1")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 413 and b"more than 5,000 bytes" in sent[1]["body"]
    assert len(taken) == 6
    assert a_client(Predictor(folder), max_bytes=5000).post("/predict", content=b"x" * 5000).status_code == 400


def test_the_longest_video_fits_in_both_forms():
    payload = {"rgb": np.full((300, 1024), 255, np.uint8), "audio": np.full((300, 128), 255, np.uint8)}
    assert len(as_json(payload)) <= MAX_BYTES and len(npz(**payload)) <= MAX_BYTES


def a_bomb(compression):
    """An archive that unpacks into 128 MiB of zeros, with a correct header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive, archive.open("rgb.npy", "w") as member:
        header = {"descr": "|u1", "fortran_order": False, "shape": (300, 1024)}
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(2**7):
            member.write(bytes(2**20))
    return file.getvalue()


def many_files():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}", b"")
    return file.getvalue()


def fill(start, part, end):
    return start + part * ((MAX_BYTES - len(start) - len(end)) // len(part)) + end


HOSTILE = {
    "deflated": lambda: (a_bomb(zipfile.ZIP_DEFLATED), ""),
    "bzip2": lambda: (a_bomb(zipfile.ZIP_BZIP2), ""),
    "lzma": lambda: (a_bomb(zipfile.ZIP_LZMA), ""),
    "many files": lambda: (many_files(), ""),
    "a text beside others": lambda: (
        json.dumps({"rgb": ["a" * 60_000] + [""] * 8000, "audio": [[1]]}).encode(),
        "application/json",
    ),
    "a text beside numbers": lambda: (
        json.dumps({"rgb": [["a" * 1_000_000] + [1] * 1023] * 1, "audio": [[1]]}).encode(),
        "application/json",
    ),
    "empty objects": lambda: (fill(b'{"rgb": [', b"{},", b"1]}"), "application/json"),
    "empty lists": lambda: (fill(b'{"rgb": [', b"[],", b"1]}"), "application/json"),
    "fractions": lambda: (fill(b'{"rgb": [[', b"1.5,", b"1]]}"), "application/json"),
    "long numbers": lambda: (fill(b'{"rgb": [[', b"1" * 4000 + b",", b"1]]}"), "application/json"),
    "numbers": lambda: (fill(b'{"rgb": [[', b"999,", b"1]]}"), "application/json"),
    "escapes": lambda: (fill(b'{"', b"\\u8072", b'": 1}'), "application/json"),
    "UTF-16": lambda: (("{" + "[]," * (MAX_BYTES // 6 - 2)).encode("utf-16"), "application/json"),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_hostile_body_unpacks_into_is_bounded(name):
    body, kind = HOSTILE[name]()
    assert len(body) <= MAX_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(AlstmError) as caught:
            parse(body, kind)
        assert tracemalloc.get_traced_memory()[1] < 16 * MAX_BYTES
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 400


def mutated(body, rng):
    """A body with some bytes changed, a piece cut out, doubled or put elsewhere, or its end cut off."""
    body = bytearray(body)
    for _ in range(rng.integers(1, 4)):
        start, stop = sorted(rng.integers(0, len(body) + 1, 2).tolist())
        kind = rng.integers(5)
        if kind == 0:
            body[start : start + 8] = rng.bytes(8)
        elif kind == 1:
            del body[start:stop]
        elif kind == 2:
            body[start:start] = body[start:stop][:5000]
        elif kind == 3:
            del body[stop:]
        elif body:
            body[start % len(body)] ^= 1 << int(rng.integers(8))
    return bytes(body)


@pytest.mark.no_cover
def test_fuzzed_bodies_are_answered_or_refused(client):
    """Never a status of 500, and never a sentence that does not end."""
    rng = np.random.default_rng(0)
    plain, small = npz(**PAYLOAD), {name: array[:1] for name, array in PAYLOAD.items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, **small)
    bodies = (plain, packed.getvalue(), as_json(small).encode(), b'{"rgb": [[1]], "audio": [[2]]}')
    kinds = ("", "application/json", "application/json; charset=utf-16", "\x7f;;=")
    for number in range(2000):
        body = mutated(bodies[number % len(bodies)], rng)
        answer = client.post("/predict", content=body, headers={"content-type": kinds[number // 4 % len(kinds)]})
        assert answer.status_code in (200, 400), (number, answer.text)
        assert answer.status_code == 200 or len(answer.json()["error"]) < 400


def test_an_internal_error_reveals_no_details(folder, monkeypatch):
    predictor = Predictor(folder)
    monkeypatch.setattr(predictor, "_run", lambda arrays: 1 / 0)
    client = a_client(predictor)
    answer = client.post("/predict", content=npz(**PAYLOAD))
    assert answer.status_code == 500 and answer.json() == {"error": "internal error: ZeroDivisionError"}


@pytest.fixture(scope="module")
def served(folder):
    port = free_port()
    process = start_server(["-m", "alstm_helpers", "serve", str(folder), "--port", str(port), "--infer_topk=3"], port)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=20)


def test_a_model_whose_scores_are_not_finite_is_at_fault_itself(folder, monkeypatch):
    predictor = Predictor(folder)
    monkeypatch.setattr(predictor, "_run", lambda arrays: [np.full((1, 20), np.nan), *2 * [np.zeros((1, 3))]])
    answer = a_client(predictor).post("/predict", content=npz(**a_payload(3)))
    assert answer.status_code == 500 and "its scores are not finite; use other weights" in answer.json()["error"]


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


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"


@contextlib.contextmanager
def a_server(folder, patience=30.0, at_once=32):
    """The command with other limits; yields the process and its port."""
    port = free_port()
    code = "import signal, sys; from alstm_helpers import cli; from alstm_helpers.deployment import serve; "
    code += "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a job in the background has it ignored
    code += f"serve.PATIENCE, serve.AT_ONCE = {patience}, {at_once}; "
    code += f"sys.argv = ['alstm', 'serve', {str(folder)!r}, '--port={port}']; cli.main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}/predict; stop with Ctrl-C" in process.stdout.readline()
        yield process, port
    finally:
        process.kill()
        process.communicate()


def connect(port, sent):
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(sent)
    return client


def wait_until_it_has_read(port):
    assert requests.get(f"http://127.0.0.1:{port}/health", timeout=20).status_code == 200


@pytest.mark.posix
@pytest.mark.parametrize("sent", [b"", b"POST /pre", HEAD + b"\r\nabc"], ids=["nothing", "half a head", "half a body"])
@pytest.mark.parametrize(
    "signals, said, status",
    [("INT", "stopped by Ctrl-C", 130), ("INT INT", "stopped by Ctrl-C", 130), ("TERM", "", 143), ("HUP", "", 143)],
)
def test_a_request_that_is_still_arriving_does_not_delay_the_stop(folder, signals, said, status, sent):
    with a_server(folder) as (process, port), connect(port, sent):
        wait_until_it_has_read(port)
        for name in signals.split():
            process.send_signal(signal.Signals[f"SIG{name}"])
            time.sleep(0.05)  # two at once are one
        out, err = process.communicate(timeout=60)
        assert (out, err.strip(), process.returncode) == ("", said, status)


@pytest.mark.posix
def test_requests_that_arrive_too_slowly_are_closed(folder):
    payload = npz(**a_payload(3))
    with a_server(folder, patience=2) as (process, port):
        for sent in (b"GET", HEAD, HEAD + b"\r\nabc"):
            with connect(port, sent) as client:
                received = client.makefile("rb").read()
                assert received.startswith(b"HTTP/1.1 400") and b"did not arrive within 2 s" in received
        with connect(port, HEAD) as client, pytest.raises(ConnectionError):
            for _ in range(1000):  # a byte from time to time does not help
                client.sendall(b"a")
                time.sleep(0.02)
        with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.connect()
            for _ in range(5):  # one that is used again and again stays open, for as long as that
                connection.request("POST", "/predict", payload)
                answer = connection.getresponse()
                assert answer.status == 200 and answer.read() and connection.sock is not None
                time.sleep(0.5)
            connection.sock.sendall(HEAD)
            assert b"did not arrive within 2 s" in connection.sock.makefile("rb").read()
        process.terminate()
        assert process.communicate(timeout=20)[1] == ""


def test_a_large_request_may_take_longer_if_it_keeps_coming(monkeypatch):
    monkeypatch.setattr(serve, "PATIENCE", 1.0)
    head = b"POST /video HTTP/1.1\r\nHost: localhost\r\nContent-Length: 450000\r\n\r\n"

    async def label(path):
        return {"bytes": path.stat().st_size}

    model = cast(Predictor, SimpleNamespace(class_names=None))
    with serving(model, Videos(label, 450_000)) as port:
        with connect(port, head) as client:
            for _ in range(15):  # for 1.5 s
                client.sendall(bytes(30_000))
                time.sleep(0.1)
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        with connect(port, head) as client:
            client.sendall(bytes(90_000))  # too little for one second
            assert b"did not arrive within" in client.makefile("rb").read()


def test_the_time_limit_of_a_request_ends_with_its_connection(monkeypatch):
    cancelled = []
    monkeypatch.setattr("uvicorn.protocols.http.h11_impl.H11Protocol.connection_lost", lambda *_: None)
    connection = object.__new__(serve._Connection)
    connection.connection_lost(None)  # before it has one
    connection._deadline = cast(asyncio.TimerHandle, SimpleNamespace(cancel=lambda: cancelled.append(True)))
    connection.connection_lost(None)
    assert cancelled == [True]


@pytest.mark.posix
def test_dropped_uploads_and_noise_print_nothing(folder):
    with a_server(folder) as (process, port):
        for sent in (HEAD + b"\r\nabc", b"noise\r\n\r\n", b"GET /health HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00"):
            connect(port, sent).close()
        wait_until_it_has_read(port)
        process.terminate()
        assert process.communicate(timeout=20) == ("", "")


@pytest.mark.posix
def test_too_many_at_once_are_told_so(folder):
    with a_server(folder, at_once=3) as (_, port), contextlib.ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(connect(port, HEAD + b"\r\nabc"))
        wait_until_it_has_read(port)
        answer = requests.post(f"http://127.0.0.1:{port}/predict", data=npz(**PAYLOAD), timeout=20)
        assert answer.status_code == 503 and answer.json()["error"].startswith("3 requests at once are too many")
        clients.close()
        wait_until_it_has_read(port)
        assert requests.post(f"http://127.0.0.1:{port}/predict", data=npz(**PAYLOAD), timeout=20).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8080", "127.0.0.1:1"])
def test_hosts_of_this_machine(client, host):
    assert client.get("/health", headers={"host": host, "origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost@evil.example", "[::1", "\x1b["],
)
def test_another_host_is_refused(client, host):
    """A page whose name leads to 127.0.0.1 could otherwise ask and read (DNS rebinding)."""
    for answer in (
        client.get("/health", headers={"host": host}),
        client.post("/predict", content=npz(**PAYLOAD), headers={"host": host}),
    ):
        assert answer.status_code == 421 and "ask for http://127.0.0.1" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", ""])
def test_pages_of_other_sites_are_refused(client, origin):
    answer = client.post("/predict", content=npz(**PAYLOAD), headers={"origin": origin})
    assert answer.status_code == 403 and "pages of other sites" in answer.json()["error"]


def test_a_server_that_does_not_start_is_named():
    with pytest.raises(AlstmError, match=r"port \d+: the server did not start; run it by hand: python -c 1/0"):
        start_server(["-c", "1/0"], free_port())
