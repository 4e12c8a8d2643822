"""Threads, device and seeds; and which modules may import Paddle."""

from __future__ import annotations

import json
import os
import platform
import sys
from types import SimpleNamespace

import pytest
from support import run_python

from alstm_helpers import runtime
from alstm_helpers.errors import DeviceError
from alstm_helpers.runtime import paddle

WITHOUT_PADDLE = (
    *("errors", "files", "paths", "tfrecord", "pickles", "metrics", "config", "cli"),
    *("data.convert", "data.lists", "data.flashdigits", "data.dataset", "machine.doctor"),
    *("course.lab", "course.runner", "course.canonical"),
)


def test_the_package_imports_neither_paddle_nor_numpy():
    code = "import sys, alstm_helpers; print([name for name in ('paddle', 'numpy') if name in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def test_modules_without_tensors_do_not_import_paddle():
    """One fresh Python, in which importing Paddle fails: who asks for it is told."""
    code = """
import importlib, sys
sys.modules["paddle"] = None
for name in sys.argv[1:]:
    try:
        importlib.import_module("alstm_helpers." + name)
    except ImportError as error:
        print(name, error)
"""
    done = run_python(code, *WITHOUT_PADDLE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "model " in run_python(code, "model").stdout  # the check itself can fail


def test_data_and_metrics_work_where_paddle_is_not_installed(tiny_data, tmp_path):
    code = """
import sys
sys.modules["paddle"] = None
import numpy as np
from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.metrics import YouTube8MMetrics
from alstm_helpers.pickles import load_videos
done = convert(sys.argv[1], sys.argv[2], ConvertOptions(workers=1))
videos = load_videos(sys.argv[2] + "/validate0000.pkl")
metrics = YouTube8MMetrics(20)
metrics.update(np.eye(20)[: len(videos)], [video.labels for video in videos])
print(done.converted, metrics.result()["num_videos"])
"""
    done = run_python(code, str(tiny_data / "tf" / "val"), str(tmp_path / "pkl"))
    assert done.stdout.split() == ["2", "10"], done.stderr


# --- threads ----------------------------------------------------------------------------------------------------

SHOW = "import os, alstm_helpers; print([os.environ.get(name) for name in ('OMP_NUM_THREADS', 'MKL_DEBUG_CPU_TYPE')])"


def test_recommended_environment(monkeypatch):
    monkeypatch.setattr(runtime, "usable_cores", lambda: 6)
    monkeypatch.setattr(runtime, "is_amd", lambda: True)
    assert runtime.recommended_environment() == {"OMP_NUM_THREADS": "3", "MKL_DEBUG_CPU_TYPE": "5"}
    monkeypatch.setattr(runtime, "is_amd", lambda: False)
    for cores, threads in ((1, "1"), (2, "1"), (3, "1"), (4, "2")):
        monkeypatch.setattr(runtime, "usable_cores", lambda cores=cores: cores)
        assert runtime.recommended_environment() == {"OMP_NUM_THREADS": threads}


@pytest.mark.parametrize("share, cores", [("", 6), ("2", 2), ("9", 6), ("0", 1), ("many", 6)])
def test_usable_cores_respect_the_share_of_a_process(monkeypatch, share, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", share)
    assert runtime.usable_cores() == cores


def test_importing_the_package_sets_what_is_not_set():
    wanted = runtime.recommended_environment()
    found = run_python(SHOW, OMP_NUM_THREADS="", MKL_DEBUG_CPU_TYPE="").stdout.strip()
    assert found == str([wanted["OMP_NUM_THREADS"], wanted.get("MKL_DEBUG_CPU_TYPE")])


def test_a_user_s_own_setting_stays():
    assert run_python(SHOW, OMP_NUM_THREADS="77", MKL_DEBUG_CPU_TYPE="4").stdout.strip() == "['77', '4']"


def test_configure_threads_comes_too_late_after_paddle(monkeypatch):
    """Paddle reads the variables once; setting them afterwards would only mislead ``alstm doctor``."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setitem(sys.modules, "paddle", paddle)
    runtime.configure_threads()
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.delitem(sys.modules, "paddle")
    runtime.configure_threads()
    assert os.environ["OMP_NUM_THREADS"] == runtime.recommended_environment()["OMP_NUM_THREADS"]


def test_paddle_is_imported_quietly():
    done = run_python("from alstm_helpers.runtime import paddle; print(paddle.__name__)", OMP_NUM_THREADS="")
    assert (done.stdout, done.stderr) == ("paddle\n", "")


def test_runtime_has_no_other_attributes():
    with pytest.raises(AttributeError, match="torch"):
        runtime.torch  # noqa: B018


# --- device and seeds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("built, problem", [(False, "CPU build"), (True, "sees no GPU")])
def test_a_gpu_that_is_not_there(monkeypatch, built, problem):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: built)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 0)
    with pytest.raises(DeviceError, match=f"^--use_gpu=True: .*{problem}.*; .*--use_gpu=False"):
        runtime.set_device(True)
    assert runtime.set_device(None) == "cpu"
    assert runtime.set_device(False) == "cpu"


def test_use_gpu_false_stays_on_the_cpu_beside_a_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(paddle.device, "set_device", lambda name: chosen.append(name))
    for use_gpu in (False, True, None):
        runtime.set_device(use_gpu)
    assert chosen == ["cpu", "gpu", "gpu"]


def test_seed_everything_repeats_paddle_s_draws():
    def draw(seed):
        runtime.seed_everything(seed)
        return paddle.rand([4]).numpy().tolist()

    assert draw(3) == draw(3) != draw(4)


def test_matmul_gflops(monkeypatch):
    """64³ multiplications and additions in the best time, 2 s."""
    clock = iter([0, 9, 10, 12, 20, 23])
    monkeypatch.setattr(runtime, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert runtime.matmul_gflops(size=64, repeats=2) == pytest.approx(2 * 64**3 / 2 / 1e9)


def test_usable_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 7}, raising=False)
    assert runtime.usable_cores() == 5
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert runtime.usable_cores() == 9


@pytest.mark.parametrize("vendor, amd", [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_is_amd(tmp_path, monkeypatch, vendor, amd):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(runtime, "Path", lambda _: tmp_path / "cpuinfo")
    assert runtime.is_amd() == amd


# --- memory -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mallopt(monkeypatch):
    """The calls that glibc's mallopt would get; no MALLOC_ variable is set."""
    calls = []
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    library = SimpleNamespace(mallopt=lambda parameter, value: calls.append((parameter, value)))
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    return calls


def test_freed_memory_is_kept(mallopt):
    runtime.keep_freed_memory()
    assert mallopt == [(-1, 2**30), (-3, 2**30)]  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


def test_a_user_s_own_malloc_settings_stay(mallopt, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    runtime.keep_freed_memory()
    assert mallopt == []


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_without_glibc_nothing_happens(monkeypatch, error):
    def missing(name):
        raise error

    monkeypatch.setattr("ctypes.CDLL", missing)
    runtime.keep_freed_memory()


PAGES = """
import resource
from alstm_helpers.runtime import paddle
frames = paddle.zeros([4096, 1024], dtype="uint8")
counts = []
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    frames.astype("float32")  # 16 MB, 4,096 pages
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(counts)[10])  # a third of them: the system may take pages away while another program wants memory
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is tuned")
def test_a_block_that_is_asked_for_again_costs_no_pages():
    # Dask, in an earlier test, may have set the variable for this process.
    assert float(run_python(PAGES, MALLOC_TRIM_THRESHOLD_="").stdout) < 1000
    assert (
        float(run_python(PAGES, MALLOC_TRIM_THRESHOLD_="65536").stdout) > 3000
    )  # not tuned: or the line above proves nothing


def test_how_it_ran(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["alstm", "train"])
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    about = runtime.how_it_ran()
    assert about["command"] == ["alstm", "train"] and about["threads"] == "7" and about["device"] == "cpu"
    versions = about["versions"]
    assert isinstance(versions, dict)
    assert versions["python"] == platform.python_version()
    assert set(versions) == {"python", "attention-lstm-course", "paddlepaddle", "numpy"}
    json.dumps(about)


@pytest.mark.posix
def test_paddle_leaves_the_handler_of_sigterm_in_place():
    """Paddle's own would report a fatal error; without it, importing Paddle would still take Python's away."""
    code = "import os, signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    code += "from alstm_helpers.runtime import paddle\nos.kill(os.getpid(), signal.SIGTERM)\nprint('still here')"
    done = run_python(code)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


@pytest.mark.posix
def test_a_signal_waits_until_paddle_is_imported():
    """Half imported, Paddle would report SIGTERM as a fatal error of its own, with two screens of a C++ stack."""
    code = """
import os, signal, sys

def stop(*_):
    print("stopped", hasattr(sys.modules["paddle"], "vision"))
    sys.exit(143)

class Meddler:
    def find_spec(self, name, path, target=None):
        if name == "paddle.nn":  # its handlers are in place
            os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, stop)
sys.meta_path.insert(0, Meddler())
from alstm_helpers.runtime import paddle
print("still here")
"""
    done = run_python(code)
    assert (done.returncode, done.stdout, done.stderr) == (143, "stopped True\n", "")
