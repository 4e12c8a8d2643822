"""The command line: exit codes, one-line errors, the flags of the contract, and the whole chain of the course."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnxruntime
import pytest
import yaml
from joblib.externals.loky import get_reusable_executor
from support import a_video, ids_of, run_python, write_list, write_shards

from alstm_helpers import __version__
from alstm_helpers.course.exercises import check
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.evaluation.report import BESIDE
from alstm_helpers.files import checksum, write_sealed
from alstm_helpers.machine.bench import Report
from alstm_helpers.machine.doctor import Check
from alstm_helpers.machine.measure import Figure
from alstm_helpers.model.build import build_model
from alstm_helpers.model.weights import save_weights
from alstm_helpers.pickles import save_videos
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import load_plain
from alstm_helpers.tfrecord import Video
from alstm_helpers.training.train import Training, TrainOptions

COMMON = "--config --model_name --use_gpu -o"
FLAGS = {  # as the contract and the source document spell them
    "doctor": "--json",
    "make-data": "--train --val --shards --seed",
    "download": "--partition --mirror --shard --out --base-url --workers",
    "convert": "--workers --keys --keep-going --scheduler",
    "lists": "",
    "train": f"{COMMON} --log_interval --valid_interval --save_dir --fix_random_seed --epoch --batch_size"
    " --learning_rate --pretrain --resume",
    "eval": f"{COMMON} --weights --filelist --out --batch_size --save_dir --log_interval",
    "predict": f"{COMMON} --weights --filelist --infer_topk --save_dir --batch_size --log_interval",
    "report": f"{COMMON} --out",
    "export": f"{COMMON} --weights --out --onnx --onnx_frames",
    "course": "--profile --notebooks --out",
    "lab": "--copy_only --no_browser --port",
    "bench": "--json",
}


def assert_one_line_error(result, start, *parts):
    """Exit 1 and ``error: <file or key>: <what is wrong>; <what to do>``."""
    assert result.code == 1, result
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith(f"error: {start}"), result.err
    assert re.fullmatch(r"error: .+: .+; .+\n", result.err), result.err
    for part in parts:
        assert part in result.err, result.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_config):
    """A configuration file of the tiny model, and weights that fit it."""
    root = tmp_path_factory.mktemp("command line")
    (root / "tiny.yaml").write_text(yaml.safe_dump(json.loads(tiny_config.model_dump_json())), encoding="utf-8")
    paddle.seed(0)
    save_weights(build_model(tiny_config), root / "net.pdparams")
    return root


@pytest.fixture
def flags(folder):
    return ["--config", folder / "tiny.yaml"]


@pytest.fixture
def trained(folder):
    return ["--config", folder / "tiny.yaml", "--weights", folder / "net.pdparams"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working folder."""
    (tmp_path / "some where").mkdir()
    monkeypatch.chdir(tmp_path / "some where")
    return tmp_path / "some where"


# --- help and usage ---------------------------------------------------------------------------------------------


def spelt(text):
    """The flags in a text, dashes and underscores taken as one."""
    return {flag.replace("_", "-") for flag in re.findall(r"(?<![\w-])--?[a-z][\w-]*", text)}


@pytest.mark.parametrize("command", FLAGS)
def test_help_lists_every_flag(alstm, command):
    result = alstm(command, "--help")
    assert result.code == 0 and not result.err
    options = result.out.partition("Options:")[2]
    assert spelt(FLAGS[command]) <= spelt(options)
    assert f"alstm {command}" in result.out
    assert alstm(command, "-h").out == result.out


def test_help_lists_every_command(alstm):
    result = alstm("--help")
    assert result.code == 0
    assert set(FLAGS) <= set(re.findall(r"^  ([a-z-]+) ", result.out.partition("Commands:")[2], re.MULTILINE))


def test_version(alstm):
    result = alstm("--version")
    assert result.code == 0 and __version__ in result.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["train"],
        ["train", "--config", "x.yaml", "--no_such_flag=1"],
        ["train", "--config", "x.yaml", "--epoch=many"],
        ["train", "--config", "x.yaml", "--log_interval=-1"],
        ["predict", "--config", "x.yaml", "--infer_topk=0"],
        ["eval", "--config", "x.yaml", "--use_gpu=perhaps"],
        ["export", "--config", "x.yaml", "--weights", "w"],
        ["convert", "only-one"],
        ["convert", "a", "b", "--keys=int"],
        ["lists"],
        ["make-data"],
        ["download", "--partition", "2/frame/train", "--mirror", "mars", "--out", "x"],
        ["course", "03"],
    ],
)
def test_wrong_usage_is_exit_2(alstm, elsewhere, arguments):
    result = alstm(*arguments)
    assert result.code == 2
    assert "Error: " in result.err and "Traceback" not in result.err
    assert not list(elsewhere.iterdir())


def test_as_a_program(tmp_path):
    """``python -m alstm_helpers``: the exit codes reach the shell, the error is the only line on stderr."""

    def run(*arguments):
        command = [sys.executable, "-m", "alstm_helpers", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False, timeout=60
        )

    assert run("--version").returncode == 0
    assert run("train").returncode == 2
    failed = run("train", "--config", "none.yaml")
    assert failed.returncode == 1 and not failed.stdout
    assert re.fullmatch(r"error: none\.yaml: no such file; .+\n", failed.stderr)


@pytest.mark.parametrize("encoding", ["cp1252", "cp936", "utf-8"])
def test_a_console_that_lacks_characters(tmp_path, encoding):
    """Windows writes to pipes in the code page of its region; ✓ is in none."""
    variables = {**os.environ, "PYTHONIOENCODING": encoding, "ALSTM_PROGRESS": str(tmp_path / "progress.json")}
    command = [sys.executable, "-m", "alstm_helpers", "progress"]
    done = subprocess.run(command, env=variables, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    mark = "✓" if encoding == "utf-8" else "\\u2713"
    assert f"{mark} correct, … tried, · not attempted" in done.stdout.decode(encoding)


# --- errors -----------------------------------------------------------------------------------------------------


def test_use_gpu_without_a_gpu(alstm, flags, elsewhere, monkeypatch):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: False)
    for flag in ("--use_gpu=True", "--use-gpu=1"):
        assert_one_line_error(alstm("train", *flags, flag), "--use_gpu=True: ", "CPU build", "--use_gpu=False")
    assert_one_line_error(alstm("train", *flags, "-o", "TRAIN.use_gpu=True"), "--use_gpu=True: ")
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "override, start, part",
    [
        ("TRAIN.batchsize=3", "TRAIN.batchsize: unknown key", "TRAIN.batch_size"),
        ("TRIAN.epoch=3", "TRIAN: unknown key", "TRAIN"),
        ("TRAIN.epoch=many", "TRAIN.epoch: ", "many"),
        ("TRAIN.epoch", "-o TRAIN.epoch: no =", "KEY"),
        ("epoch=3", "epoch: not a key", "SECTION.key"),
    ],
)
def test_a_wrong_override(alstm, flags, elsewhere, override, start, part):
    result = alstm("train", *flags, "-o", override)
    assert_one_line_error(result, start)
    assert part.lower() in result.err.lower()


def test_a_wrong_value_of_a_flag(alstm, flags, elsewhere):
    assert_one_line_error(alstm("train", *flags, "--epoch=0"), "TRAIN.epoch: 0 does not fit")
    assert_one_line_error(alstm("eval", *flags, "--batch_size=0"), "TEST.batch_size: 0 does not fit")


def test_a_key_of_the_file_is_named_with_its_line(alstm, tmp_path):
    (tmp_path / "bad.yaml").write_text("MODEL:\n  topk: 5\nTRAIN:\n  epochs: 3\n", encoding="utf-8")
    result = alstm("train", "--config", tmp_path / "bad.yaml")
    assert_one_line_error(result, f"{tmp_path / 'bad.yaml'}, line 4, TRAIN.epochs: unknown key", "TRAIN.epoch?")


@pytest.mark.parametrize("command", ["train", "eval", "predict", "export"])
def test_a_missing_configuration(alstm, elsewhere, command):
    more = ["--weights", "w", "--out", "o"] if command == "export" else []
    assert_one_line_error(alstm(command, "--config", "none.yaml", *more), "none.yaml: no such file")


@pytest.mark.parametrize(
    "arguments, start",
    [
        (["eval", "--weights=none.pdparams"], "none.pdparams: no such file"),
        (["eval"], f"{Path('data/checkpoints/AttentionLSTM_best.pdparams')}: no trained weights here"),
        (["predict"], f"{Path('data/checkpoints/AttentionLSTM_best.pdparams')}: no trained weights here"),
        (["export", "--weights=none.pdparams", "--out=x"], "none.pdparams: no such file"),
        (["train", "--pretrain=none.pdparams"], "none.pdparams: no such file"),
        (["crossval", "--pretrain=none.pdparams"], "none.pdparams: no such file"),
        (["train", "--resume=none"], "none: no AttentionLSTM_latest.pdstate here"),
        (["train", "-o", "TRAIN.filelist=none.list"], "none.list: no such file"),
        (["train", "-o", "VALID.filelist=none.list"], "none.list: no such file"),
    ],
)
def test_a_missing_file(alstm, flags, elsewhere, arguments, start):
    command, *more = arguments
    assert_one_line_error(alstm(command, *flags, *more), start)
    assert not list(elsewhere.iterdir())


def test_missing_weights_are_named_before_a_missing_configuration(alstm, elsewhere):
    assert_one_line_error(alstm("predict", "clip.mp4", "--weights", "none.pdparams"), "none.pdparams: no such file")


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_an_empty_list(alstm, trained, elsewhere, command):
    write_list(elsewhere / "empty.list", [])
    result = alstm(command, *trained, "--filelist=empty.list")
    assert_one_line_error(result, "empty.list: the list is empty", "alstm lists")
    assert [path.name for path in elsewhere.iterdir()] == ["empty.list"]


def test_a_list_without_labels(alstm, trained, elsewhere):
    video = Video(b"one", (), *(np.zeros((2, dim), np.uint8) for dim in (1024, 128)))
    save_videos(elsewhere / "a.pkl", [video])
    write_list(elsewhere / "bare.list", [elsewhere / "a.pkl"])
    result = alstm("eval", *trained, "--filelist=bare.list")
    assert_one_line_error(result, "bare.list: none of its 1 videos has a label", "alstm predict")


def test_a_list_that_names_a_missing_shard(alstm, trained, elsewhere):
    (elsewhere / "a.list").write_text("gone.pkl\n", encoding="utf-8")
    assert_one_line_error(alstm("eval", *trained, "--filelist=a.list"), "a.list: it names gone.pkl, which is missing")


def test_shards_without_videos(alstm, trained, elsewhere):
    write_list(elsewhere / "hollow.list", write_shards(elsewhere, [[]]))
    result = alstm("eval", *trained, "--filelist=hollow.list")
    assert result.code == 1 and "no video" in result.err and result.err.count("\n") == 1


@pytest.mark.parametrize("command", ["eval", "predict", "export"])
def test_a_wrong_class_count(alstm, folder, trained, elsewhere, command):
    more = ["--out=model"] if command == "export" else []
    result = alstm(command, *trained, *more, "-o", "MODEL.num_classes=21")
    assert_one_line_error(result, f"{folder / 'net.pdparams'}, fc_logit.weight: shape [16, 20], not [16, 21]", "MODEL")
    assert not list(elsewhere.iterdir())


def test_labels_beyond_the_classes(alstm, flags, elsewhere):
    result = alstm("train", *flags, "-o", "MODEL.num_classes=3", "--save_dir=out")
    assert_one_line_error(result, "", ".pkl, video t", "is out of range for 3 classes", "MODEL.num_classes")


def test_a_corrupt_shard_is_named(alstm, trained, elsewhere):
    (elsewhere / "bad.tfrecord").write_bytes(b"no record at all, but long enough")
    write_list(elsewhere / "a.list", [elsewhere / "bad.tfrecord"])
    result = alstm("predict", *trained, "--filelist=a.list")
    assert_one_line_error(result, f"{elsewhere / 'bad.tfrecord'}, record 0 at byte 0: ")


def test_resume_and_pretrain_together(alstm, flags, folder):
    result = alstm("train", *flags, "--resume=a", "--pretrain", folder / "net.pdparams")
    assert_one_line_error(result, "--resume and --pretrain: ")


def test_export_in_every_form(alstm, trained, elsewhere):
    result = alstm("export", "--out=model", "--int8", *trained)
    description = json.loads(Path("model/export.json").read_text(encoding="utf-8"))
    assert {"model.onnx", "model.int8.onnx", "model.pdiparams"} < {path.name for path in Path("model").iterdir()}
    gaps = description["int8"]
    assert f"GAP {gaps['gap_float32']:.4f}, with weights as bytes {gaps['gap_int8']:.4f}" in result.out
    assert alstm("eval", *trained, "--out=m.json", "--resamples=0").code == 0
    assert gaps["gap_float32"] == pytest.approx(json.loads(Path("m.json").read_text(encoding="utf-8"))["gap"], abs=1e-9)
    assert description["class_names"][0] == "see 0"
    assert description["weights_sha256"] == checksum(trained[-1], "sha256")
    assert "model.onnx" in alstm("export", "--out=plain", "--onnx", *trained).last
    assert not Path("plain/model.int8.onnx").exists()
    alstm("export", "--out=floats", "--onnx", "--onnx_frames=float32", *trained)
    for folder, dtype in (("plain", "uint8"), ("floats", "float")):
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
        assert [item.type for item in session.get_inputs()[:2]] == [f"tensor({dtype})"] * 2


def test_int8_needs_videos_to_measure_on(alstm, trained, elsewhere):
    result = alstm("export", "--out=model", "--int8", "--filelist=none.list", *trained)
    assert_one_line_error(result, "none.list: no such file", "--filelist")
    assert not Path("model").exists()


def test_explain(alstm, trained, elsewhere):
    names = [path.name for path in Path().iterdir()]
    assert names == []
    first = json.loads(run_first_prediction(alstm, trained))["video"]
    result = alstm("explain", *trained, "--video", first, "--infer_topk=2", "--save_dir=why")
    assert result.code == 0 and re.search(rf"{first}: \w+ \d 0\.\d+, most by second \d+ of (rgb|audio) → ", result.last)
    report = json.loads(Path(f"why/{first}.json").read_text(encoding="utf-8"))
    assert len(report["labels"]) == 2 and Path(f"why/{first}.png").stat().st_size > 10_000
    assert_one_line_error(alstm("explain", *trained, "--video=none"), "--video none: no shard of the list has it")


def run_first_prediction(alstm, trained):
    assert alstm("predict", *trained, "--save_dir=p").code == 0
    return Path("p/predictions.jsonl").read_text(encoding="utf-8").splitlines()[0]


def test_predict_with_a_threshold(alstm, trained, elsewhere):
    assert alstm("eval", *trained, "--out=e/metrics.json", "--resamples=0").code == 0
    for threshold in ("0.5", "e/report.json", "e/classes.csv"):
        assert alstm("predict", *trained, "--threshold", threshold, "--save_dir=p").code == 0
        rows = [json.loads(line) for line in Path("p/predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        assert len(rows) == 20 and 0 < sum(len(row["labels"]) for row in rows) < 400
    assert_one_line_error(alstm("predict", *trained, "--threshold=2"), "--threshold 2: no thresholds")


def test_predict_with_a_calibration(alstm, trained, elsewhere):
    """A line says that scores are calibrated, and by what; the list ends with what to label next."""
    write_sealed("crossval.json", {"calibration": {"slope": 0.5, "offset": -1.0, "num_classes": 20}})
    raw = [label["score"] for label in json.loads(run_first_prediction(alstm, trained))["labels"]]
    result = alstm("predict", *trained, "--calibration=crossval.json", "--save_dir=p", "--log_interval=0")
    assert result.code == 0 and "scores are calibrated by crossval.json: logit × 0.500 -1.000\n" in result.out
    rows = [json.loads(line) for line in Path("p/predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    odds = np.array(raw) / (1 - np.array(raw))
    assert [label["score"] for label in rows[0]["labels"]] == pytest.approx(1 / (1 + np.e / odds**0.5), abs=1e-5)
    unsure = sorted(rows, key=lambda row: row["labels"][0]["score"])[:5]
    named = ", ".join(f"{row['video']} (best score {row['labels'][0]['score']:.3f})" for row in unsure)
    assert result.last == f"most uncertain, label these next: {named}"
    write_sealed("crossval.json", {"calibration": {"slope": 0.5, "offset": -1.0, "num_classes": 3}})
    said = alstm("predict", *trained, "--calibration=crossval.json", "--save_dir=q")
    assert_one_line_error(said, "crossval.json: it is about 3 classes, the model has 20")
    assert not Path("q").exists()


def test_weights_by_address(alstm, trained, elsewhere, server, monkeypatch):
    """Evaluation, export, prediction and fine-tuning take them."""
    monkeypatch.setenv("ALSTM_CACHE", str(elsewhere / "cache"))
    server.files["net.pdparams"] = Path(trained[3]).read_bytes()
    flags = [*trained[:2], f"--weights={server.url}/net.pdparams"]
    assert alstm("eval", *flags, "--resamples=0").code == 0
    assert alstm("predict", *flags).code == 0
    assert alstm("export", *flags, "--out=model").code == 0
    result = alstm("train", *trained[:2], f"--pretrain={server.url}/net.pdparams", "--epoch=1", "--save_dir=tuned")
    assert result.code == 0 and "all of it" in result.out
    assert server.gets == ["net.pdparams"]
    server.files.clear()
    result = alstm("eval", *trained[:2], f"--weights={server.url}/no.pdparams")
    assert_one_line_error(result, f"{server.url}/no.pdparams: the server answers 404")


def test_download_from_a_server_of_your_own(alstm, elsewhere, server, monkeypatch):
    arguments = ["--partition=2/frame/train", "--mirror=us", "--out=tf", "--shard=1,2"]
    for variable, flag in ((server.url, []), ("http://127.0.0.1:9", [f"--base-url={server.url}"])):
        monkeypatch.setenv("ALSTM_YT8M_URL", variable)
        result = alstm("download", *arguments, *flag)
        assert result.code == 0 and result.last.startswith("downloaded")
    assert server.gets and len(set(server.gets)) == len(server.gets), "the second run finds all files"


def test_progress(alstm, elsewhere, monkeypatch):
    monkeypatch.setenv("ALSTM_PROGRESS", str(elsewhere / "progress.json"))
    check("ex-1-1", 2.2)
    check("ex-1-2", 5)
    result = alstm("progress")
    assert result.out.splitlines()[0].startswith("01  ex-1-1 ✓  ex-1-2 …  ex-1-3 ·")
    assert str(elsewhere / "progress.json") in result.last and result.code == 0


def test_serve_without_a_model(alstm, elsewhere):
    assert_one_line_error(alstm("serve", "."), ".: no exported model here", "alstm export")


def full_disk(monkeypatch, after=0):
    """From the given call on, nothing can be flushed to the disk."""
    calls = []
    original = os.fsync

    def fsync(handle):
        calls.append(handle)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    monkeypatch.setattr("alstm_helpers.files.os.fsync", fsync)


def test_a_full_disk(alstm, trained, elsewhere, monkeypatch):
    """The file is named, the old ones stay, and nothing half written is left."""
    for name in ("metrics.json", "classes.csv"):
        (elsewhere / name).write_text("old", encoding="utf-8")
    full_disk(monkeypatch)
    result = alstm("eval", *trained, "--out=metrics.json", "--log_interval=0")
    assert_one_line_error(result, "classes.csv: No space left on device; free some space")
    assert {path.name: path.read_text(encoding="utf-8") for path in elsewhere.iterdir()} == {
        "metrics.json": "old",
        "classes.csv": "old",
    }


def test_a_full_disk_in_a_training_keeps_the_last_checkpoint(alstm, flags, elsewhere, monkeypatch):
    train = ["train", *flags, "--save_dir=out", "--fix_random_seed=True", "--epoch=3", "--valid_interval=0"]
    assert alstm(*train, "--epoch=1").code == 0
    before = load_plain("out/AttentionLSTM_latest.pdstate", "")
    full_disk(monkeypatch, after=5)  # settings, log and the weights (latest, best) still fit, the state does not
    result = alstm(*train, "--resume=out")
    assert_one_line_error(result, f"{Path('out/AttentionLSTM_latest.pdstate')}: No space left on device")
    assert load_plain("out/AttentionLSTM_latest.pdstate", "")["progress"] == before["progress"]
    assert not list(Path("out").glob(".*.tmp"))
    monkeypatch.undo()


def test_a_folder_that_is_a_file(alstm, flags, elsewhere):
    (elsewhere / "out").write_text("", encoding="utf-8")
    result = alstm("train", *flags, "--save_dir=out")
    assert result.code == 1 and result.err.startswith("error: out: ") and result.err.count("\n") == 1


def test_too_little_memory(alstm, trained, elsewhere, monkeypatch):
    def greedy(*_, **__):
        raise MemoryError

    monkeypatch.setattr("alstm_helpers.evaluation.evaluate.collect", greedy)
    assert_one_line_error(alstm("eval", *trained), "memory: ", "batch")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space, or choose another folder, then run again"),
        (errno.EACCES, "check permissions, or choose another folder, then run again"),
        (errno.EMFILE, "raise the number of open files (ulimit -n), or use fewer workers, then run again"),
        (errno.ENAMETOOLONG, "choose shorter and simpler names, then run again"),
        (errno.EISDIR, "check the path, then run again"),
        (errno.ECONNREFUSED, "check the network and the address, then run again"),
        (errno.ENOTSUP, "check the path, permissions, free space and the network, then run again"),
    ],
)
def test_remedies_fit_what_the_system_says(alstm, trained, monkeypatch, number, remedy):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number), "a\x1b[2J\nb")

    monkeypatch.setattr("alstm_helpers.evaluation.evaluate.collect", fail)
    result = alstm("eval", *trained)
    assert_one_line_error(result, rf"a\x1b[2J b: {os.strerror(number)}; {remedy}")


def test_a_name_that_cannot_be_written_is_no_fault_of_ours(alstm, trained, monkeypatch):
    monkeypatch.setattr("alstm_helpers.evaluation.evaluate.collect", lambda *_, **__: os.fsdecode(b"\xff").encode())
    message = r"\udcff: a name that is not UTF-8 cannot be used here; rename the file or its folder"
    assert_one_line_error(alstm("eval", *trained), message)


@pytest.mark.posix
@pytest.mark.parametrize("command", [["export", "--onnx", "--out"], ["train", "--epoch=1", "--save_dir"]])
def test_a_folder_that_is_not_utf_8_is_no_fault_of_ours(alstm, trained, elsewhere, command):
    """Neither Paddle's writer nor JSON takes it."""
    folder = os.fsdecode(b"my\xff")
    result = alstm(command[0], *trained[: 4 if command[0] == "export" else 2], *command[1:], folder)
    assert_one_line_error(result, r"my\udcff: a name that is not UTF-8 cannot be used here; rename")


@pytest.mark.posix
@pytest.mark.parametrize("command", ["progress", "doctor", "--help"])
def test_who_reads_only_the_beginning_hears_no_complaint(tmp_path, command):
    """``alstm … | head``."""
    variables = {**os.environ, "ALSTM_PROGRESS": str(tmp_path / "progress.json")}
    program = [sys.executable, "-m", "alstm_helpers", command]
    done = subprocess.run(
        f"{shlex.join(program)} | true", shell=True, env=variables, stderr=subprocess.PIPE, check=True
    )
    assert done.stderr == b""


# --- what reaches the terminal ----------------------------------------------------------------------------------

STEERING = "\x1b]0;owned\x07\x1b[2J\x9b1m\r\u202e\u2028"


def assert_harmless(result):
    assert result.code == 0, result
    lines = (result.out + result.err).split("\n")
    assert not [line for line in lines if not line.isprintable()]
    assert "owned" in result.out


def test_ids_and_names_cannot_steer_the_terminal(alstm, trained, elsewhere):
    """Those of ids, class names, paths and settings."""
    frames, sound = np.ones((3, 1024), np.uint8), np.ones((3, 128), np.uint8)
    save_videos("s.pkl", [Video(f"{STEERING}{n}".encode(), (1,), frames, sound) for n in range(2)])
    write_list(elsewhere / "a.list", [elsewhere / "s.pkl"])
    names = "".join(f'{index},"{STEERING}{index}"\n' for index in range(20))
    Path("names.csv").write_text(f"index,name\n{names}", encoding="utf-8", newline="")
    more = [*trained, "--filelist=a.list", "--save_dir", STEERING[:4]]
    assert_harmless(alstm("predict", *more))
    assert_harmless(alstm("explain", *more, "--video", f"{STEERING}0"))
    assert_harmless(alstm("eval", *more, "--resamples=0", "-o", f"MODEL.dataset={json.dumps(STEERING)}"))
    result = alstm("predict", *more, "-o", "INFER.class_names=names.csv")  # whether such names are refused or shown
    assert not [line for line in (result.out + result.err).split("\n") if not line.isprintable()]


def test_json_is_json_whatever_is_in_it(alstm, monkeypatch):
    monkeypatch.setattr("alstm_helpers.machine.doctor.run_checks", lambda: [Check("disk", "OK", STEERING)])
    result = alstm("doctor", "--json")
    assert json.loads(result.out)[0]["detail"] == STEERING
    assert "\x1b" not in result.out + alstm("doctor").out


def test_nothing_is_printed_past_the_function_that_escapes():
    for path in (Path(__file__).resolve().parents[2] / "alstm_helpers" / "commands").glob("*.py"):
        calls = re.findall(r"click\.s?echo\((?!json\.dumps)|print\(|stdout\.write", path.read_text(encoding="utf-8"))
        assert not calls, path


def test_a_fault_of_ours_is_one_line_too(alstm, trained, monkeypatch):
    monkeypatch.setattr("alstm_helpers.evaluation.evaluate.collect", lambda *_, **__: 1 / 0)
    result = alstm("eval", *trained)
    assert_one_line_error(result, "alstm: ZeroDivisionError: division by zero; this is a bug in alstm", "--debug")


@pytest.mark.parametrize("position", [0, 1, 3])
def test_debug_shows_the_traceback(alstm, elsewhere, position):
    arguments = ["train", "--config", "none.yaml"]
    assert "Traceback" not in alstm(*arguments).err
    arguments.insert(position, "--debug")
    result = alstm(*arguments)
    assert result.code == 1
    assert "Traceback (most recent call last)" in result.err and "require_file" in result.err
    assert result.err.splitlines()[-1].startswith("error: none.yaml: no such file")


# --- spelling and precedence ------------------------------------------------------------------------------------


def test_dashes_and_underscores_are_alike(alstm, trained, elsewhere):
    assert alstm("predict", *trained, "--infer_topk=2", "--save_dir=a", "--log_interval=0").code == 0
    assert alstm("predict", *trained, "--infer-topk=2", "--save-dir=b", "--log-interval=0").code == 0
    assert Path("a/predictions.csv").read_bytes() == Path("b/predictions.csv").read_bytes()
    assert alstm("make_data", "--help").out.partition("\n")[2] == alstm("make-data", "--help").out.partition("\n")[2]


@pytest.mark.parametrize("flag", ["--keep_going", "--keep-going"])
def test_keep_going(alstm, tiny_data, elsewhere, flag):
    (elsewhere / "tf").mkdir()
    shard = tiny_data / "tf" / "val" / "validate0000.tfrecord"
    (elsewhere / "tf" / "good.tfrecord").write_bytes(shard.read_bytes())
    (elsewhere / "tf" / "bad.tfrecord").write_bytes(shard.read_bytes()[:-100])
    result = alstm("convert", "tf", "pkl", "--workers=1")
    assert result.code == 1 and result.err.count("\n") == 1 and "bad.tfrecord, record" in result.err
    result = alstm("convert", "tf", "pkl", "--workers=1", flag)
    assert result.code == 1 and result.err.count("\n") == 1
    assert re.match(rf"error: (.*[/\\\\])?{re.escape(str(Path('tf/bad.tfrecord')))}, record 9 at byte", result.err)
    assert re.fullmatch(r"converted [01] shards, \d+ videos, \d+ frames, [01] skipped, 1 failed", result.last)
    assert Path("pkl/good.pkl").exists() and not Path("pkl/bad.pkl").exists()


@pytest.mark.parametrize("count", ["0", "1000000"])
def test_workers_that_cannot_be(alstm, tiny_data, elsewhere, count):
    result = alstm("convert", tiny_data / "tf", "pkl", "--workers", count)
    assert result.code == 1 and result.err == f"error: --workers: {count} processes cannot work; pass 1 to 1024\n"


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "0"])
def test_seconds_that_cannot_be_waited(alstm, elsewhere, seconds):
    result = alstm("features", "clips", "--backbone", "flashdigits", "--out", "f", "--clip_seconds", seconds)
    assert result.code == 2 and "Invalid value for '--clip_seconds'" in result.err


def test_flag_beats_override_beats_file(alstm, flags, elsewhere, monkeypatch):
    seen = []

    def fake(config, save_dir, options, *, report, progress):
        seen.append((config, save_dir, options))
        return Training(Mock(), [], 0.25, 3.0, config)

    monkeypatch.setattr("alstm_helpers.training.train.train", fake)
    more = ["-o", "TRAIN.epoch=7", "-o", "TRAIN.seed=4", "-o", "TRAIN.schedule=step", "--epoch=9", "--batch-size=3"]
    more += ["--learning_rate=0.5", "--model_name=Other", "--fix_random_seed=True", "--log_interval=3"]
    more += ["--valid_interval=2", "--save_dir=out", "--resume=r", "--pretrain=p"]
    Path("p").touch()
    assert "best GAP 0.2500" in alstm("train", *flags, *more).last
    config, save_dir, options = seen[0]
    assert (config.TRAIN.epoch, config.TRAIN.batch_size, config.TRAIN.learning_rate) == (9, 3, 0.5)
    assert (config.TRAIN.schedule, config.TRAIN.warmup_iters) == ("step", 2)
    assert config.MODEL.name == "Other" and save_dir == "out"
    assert options == TrainOptions(log_interval=3, valid_interval=2, seed=4, resume="r", pretrain="p")
    assert alstm("train", *flags).code == 0
    config, save_dir, options = seen[1]
    assert options.seed is None and config.TRAIN.epoch == 2 and save_dir == "data/checkpoints"
    assert (options.log_interval, options.valid_interval) == (10, 1)


def test_ctrl_c(alstm, flags, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("alstm_helpers.training.train.train", stopped)
    result = alstm("train", *flags)
    assert result.code == 130 and result.err.strip() == "stopped by Ctrl-C"


@pytest.mark.posix
@pytest.mark.parametrize("name, status, said", [("SIGINT", 130, "stopped by Ctrl-C\n"), ("SIGTERM", 143, "")])
def test_a_signal_stays_one_whatever_a_library_makes_of_it(tmp_path, name, status, said):
    """Modules in C that are being imported make an ImportError of what the handler raises, pydantic a SchemaError."""
    code = """
import signal, sys
from alstm_helpers import cli
from alstm_helpers.data import lists

def write_lists(root):
    try:
        signal.raise_signal(signal.Signals[name])
    except BaseException:
        raise ImportError("initialization failed") from None

lists.write_lists, name = write_lists, sys.argv.pop()
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background may have inherited as ignored
sys.argv[:] = ["alstm", "lists", *sys.argv[1:]]
cli.main()
"""
    done = run_python(code, str(tmp_path), name)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


@pytest.mark.posix
def test_work_that_cannot_be_ended_in_order_is_said(tmp_path):
    """The checkpoint that Ctrl-C saves may find a full disk."""
    code = """
import signal, sys
from alstm_helpers import cli
from alstm_helpers.data import lists

def write_lists(root):
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        raise OSError(28, "No space left on device", "x.pdstate")

lists.write_lists = write_lists
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[:] = ["alstm", "lists", *sys.argv[1:]]
cli.main()
"""
    done = run_python(code, str(tmp_path))
    first, last = done.stderr.splitlines()
    assert first.startswith("error: x.pdstate: No space left on device; free some space") and done.returncode == 130
    assert last == "stopped by Ctrl-C"


@pytest.mark.posix
@pytest.mark.parametrize("ignored, status", [("", 143), ("SIGTERM", 143), ("SIGHUP", 0)])
def test_a_terminal_that_has_gone_ends_a_command(tmp_path, ignored, status):
    """Also where SIGTERM is ignored; but not below nohup."""
    code = """
import signal, sys
from alstm_helpers import cli
from alstm_helpers.data import lists

for number in filter(None, sys.argv.pop().split()):
    signal.signal(signal.Signals[number], signal.SIG_IGN)
lists.write_lists = lambda root: signal.raise_signal(signal.SIGHUP) or {}
sys.argv[:] = ["alstm", "lists", *sys.argv[1:]]
cli.main()
"""
    assert run_python(code, str(tmp_path), ignored).returncode == status


# --- what the commands do ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", [".", "..", "folder", "new/", *BESIDE, "folder/Report.json"])
def test_eval_refuses_a_name_that_it_cannot_write_before_any_work(alstm, trained, elsewhere, out):
    (elsewhere / "folder").mkdir()
    result = alstm("eval", *trained, "--out", out, "--resamples=0")
    assert result.code == 2 and re.search(r"--out: \S+ is .+; name (a|another) file\.$", result.err.strip())
    assert [path.name for path in elsewhere.rglob("*")] == ["folder"]


def test_eval_writes_beside_the_metrics_what_it_refuses_as_their_name(alstm, trained, elsewhere):
    assert alstm("eval", *trained, "--out=m.json", "--resamples=0").code == 0
    assert {path.name for path in elsewhere.iterdir()} == {"m.json", *BESIDE}


def test_eval_writes_metrics(alstm, trained, elsewhere):
    result = alstm("eval", *trained, "--out", "deep/m.json", "--batch_size=6")
    metrics = json.loads(Path("deep/m.json").read_text(encoding="utf-8"))
    assert set(metrics) == {"hit_at_1", "perr", "gap", "map", "loss", "num_videos"}
    assert metrics["num_videos"] == 20
    assert f"GAP {metrics['gap']:.4f}" in result.last and "over 20 videos" in result.last
    assert "batch 4  20 videos" in result.out
    report = json.loads(Path("deep/report.json").read_text(encoding="utf-8"))
    assert report["weights_sha256"] == checksum(trained[-1], "sha256")
    low, high = report["interval_95"]["gap"]
    assert f"gap {low:.4f} to {high:.4f}" in result.out and report["batch_averaged_gap"]["batch_size"] == 6
    assert Path("deep/classes.csv").read_text(encoding="utf-8").count("\n") == 21
    assert alstm("eval", *trained, "--out", "quick/m.json", "--resamples=0").code == 0
    assert "interval_95" not in json.loads(Path("quick/report.json").read_text(encoding="utf-8"))
    assert alstm("eval", *trained).code == 0
    default = json.loads(Path("data/evaluate_results/metrics.json").read_text(encoding="utf-8"))
    assert default == pytest.approx(metrics, abs=1e-4)


def test_one_video_is_not_called_videos(alstm, trained, elsewhere):
    one, two = [a_video("one", 3, [1])], [a_video("two", 3, [1])]
    write_list(elsewhere / "one.list", write_shards(elsewhere, [one]))
    result = alstm("eval", *trained, "--filelist=one.list")
    assert "batch 1  1 video\n" in result.out and "  over 1 video → " in result.last
    assert alstm("predict", *trained, "--filelist=one.list").last.startswith("1 video → ")
    write_list(elsewhere / "two.list", write_shards(elsewhere, [one, two]))
    assert alstm("predict", *trained, "--filelist=two.list").last.startswith("2 videos → ")
    for side, videos in (("train", one), ("val", two)):
        (elsewhere / "pkl" / side).mkdir(parents=True)
        save_videos(elsewhere / "pkl" / side / "a.pkl", videos)
    assert alstm("lists", ".").out.startswith("train.list: 1 shard\n")
    (elsewhere / "labels.csv").write_text("video,labels\na.mp4,cat\n", encoding="utf-8")
    assert alstm("labels", "import", "labels.csv", "--out", "labels").last.startswith("1 clip → ")


def test_eval_takes_the_default_weights(alstm, flags, folder, elsewhere):
    best = Path("data/checkpoints/AttentionLSTM_best.pdparams")
    best.parent.mkdir(parents=True)
    best.write_bytes((folder / "net.pdparams").read_bytes())
    assert alstm("eval", *flags).code == 0


def test_predict_writes_every_video_once(alstm, trained, tiny_config, tiny_data, elsewhere):
    """Pickles and TFRecords in one list, in batches that do not divide the videos."""
    shards = [tiny_data / "pkl/val/validate0000.pkl", tiny_data / "tf/val/validate0001.tfrecord"]
    write_list(elsewhere / "mixed.list", shards)
    result = alstm("predict", *trained, "--filelist=mixed.list", "--infer_topk=3", "--batch_size=7", "--save_dir=out")
    assert result.code == 0 and "20 videos" in result.out and result.last.startswith("most uncertain, ")
    rows = [json.loads(line) for line in Path("out/predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["video"].encode() for row in rows] == ids_of(read_filelist(tiny_config.INFER.filelist))
    for row in rows:
        assert set(row) == {"video", "labels"}
        assert len(row["labels"]) == 3 and set(row["labels"][0]) == {"index", "name", "score"}
        scores = [label["score"] for label in row["labels"]]
        assert scores == sorted(scores, reverse=True)
        assert all(re.fullmatch(r"(see|hear) \d", label["name"]) for label in row["labels"])
    assert len(Path("out/predictions.csv").read_text(encoding="utf-8").splitlines()) == 21


def test_predict_defaults_to_20_labels(alstm, trained, elsewhere):
    assert alstm("predict", *trained).code == 0
    first = Path("data/predict_results/predictions.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert len(json.loads(first)["labels"]) == 20


def test_train_and_resume(alstm, flags, elsewhere):
    run = ["train", *flags, "--fix_random_seed=True", "--log_interval=2"]
    result = alstm(*run, "--save_dir=whole", "--epoch=2")
    assert result.code == 0 and "best GAP" in result.last and "[VALID] epoch 2/2" in result.out
    whole = load_plain("whole/AttentionLSTM_best.pdparams", "")
    assert alstm(*run, "--save_dir=again", "--epoch=2").code == 0
    again = load_plain("again/AttentionLSTM_best.pdparams", "")
    assert all((whole[name] == again[name]).all() for name in whole)
    result = alstm("train", *flags, "--save_dir=whole", "--resume=whole", "--epoch=3")
    assert result.code == 0 and "resumed after epoch 2 of 3" in result.out and "[VALID] epoch 3/3" in result.out


def test_doctor(alstm, monkeypatch):
    good, warned, bad = Check("python", "OK", "fine"), Check("disk", "WARN", "1 GB"), Check("gpu", "FAIL", "broken")
    monkeypatch.setattr("alstm_helpers.machine.doctor.run_checks", lambda: [good, warned])
    result = alstm("doctor")
    assert result.code == 0
    assert [line.split()[:2] for line in result.out.splitlines()] == [["OK", "python"], ["WARN", "disk"]]
    monkeypatch.setattr("alstm_helpers.machine.doctor.run_checks", lambda: [good, bad])
    assert alstm("doctor").code == 1
    result = alstm("doctor", "--json")
    assert result.code == 1
    assert json.loads(result.out)[1] == {"name": "gpu", "status": "FAIL", "detail": "broken"}


def test_bench(alstm, monkeypatch):
    figures = {
        "read": Figure(1234.5, "videos/s", "from a pickle"),
        "per": Figure(None, "×", "a to b", (0.91, 1.1), 2.0, (1.5, 2.5)),
        "per_too": Figure(3.0, "×", "a to b", (2.5, 3.5), None, (0.5, 2.5)),
    }
    machine = {"processor": "Abacus", "cores": 2, "load_before": 0.1, "load_after": None}
    monkeypatch.setattr("alstm_helpers.machine.bench.run_bench", lambda *_: Report(machine, figures))
    found = json.loads(alstm("bench", "--json").out)
    assert found["machine"] == machine
    assert found["read"] == {"value": 1234.5, "unit": "videos/s", "what": "from a pickle"}
    first, _, *rows = alstm("bench").out.splitlines()
    assert first == "Abacus, 2 cores; load 0.1 before, None after"
    assert [row.split()[:5] for row in rows] == [
        ["read", "1234", "videos/s", "from", "a"],
        ["per", "–", "0.91–1.1", "×", "2"],
        ["per_too", "3", "2.5–3.5", "×", "–"],
    ]
    machine["stopped_in"] = "video"
    result = alstm("bench", "--json")
    assert result.code == 130 and json.loads(result.out)["read"]
    said = ["the part video: stopped before its end; measure it with --only video", "stopped by Ctrl-C"]
    assert result.err.splitlines() == said


def test_course(alstm, monkeypatch, tmp_path):
    seen = []
    rows = [
        {"name": "03_data", "status": "ok", "seconds": 1.0},
        {"name": "05_evaluation", "status": "ok", "seconds": 1},
    ]

    def fake(out, **settings):
        seen.append((Path(out), settings["profile"], settings["notebooks"]))
        return {"notebooks": rows, "seconds": 2.0}

    monkeypatch.setattr("alstm_helpers.course.runner.run_course", fake)
    assert alstm("course", "--notebooks", "03", "05", "--out", tmp_path, "--profile=small").code == 0
    assert seen[-1] == (tmp_path, "small", ["03", "05"])
    assert alstm("course", "--notebooks=03", "--out", tmp_path, "05").code == 0
    assert seen[-1] == (tmp_path, "tiny", ["03", "05"])
    rows[1]["status"] = "failed"
    result = alstm("course")
    assert result.code == 1 and "1 of 2 notebooks ok" in result.last
    assert seen[-1][0].parts[-2:] == ("build", "course") and seen[-1][2] == []


def test_relative_paths_are_those_of_the_current_folder(alstm, tmp_path, monkeypatch):
    """Also where worker processes of an earlier call, with another current folder, are used again."""
    get_reusable_executor().shutdown(wait=True)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert alstm("make-data", "flash", "--train=4", "--val=2", "--shards=2").code == 0
        assert alstm("convert", "flash/tf", "pkl", "--workers=2").code == 0
        names = {path.name for path in (tmp_path / name / "flash").rglob("*.tfrecord")}
        assert names == {"train0000.tfrecord", "train0001.tfrecord", "validate0000.tfrecord", "validate0001.tfrecord"}
        assert len(list((tmp_path / name / "pkl").glob("*.pkl"))) == 4


def test_the_whole_chain(alstm, tmp_path, monkeypatch):
    """From an empty folder to an exported model, by relative paths from a folder with a space in its name."""
    here = tmp_path / "my work 工作"
    here.mkdir()
    monkeypatch.chdir(here)
    result = alstm("make-data", "data/flash", "--train=24", "--val=9", "--shards=2", "--seed=3")
    assert result.code == 0 and result.last == "made 4 shards, 0 skipped, 33 videos in all"
    for split, videos in (("train", 24), ("val", 9)):
        arguments = ["convert", f"data/flash/tf/{split}", f"data/flash/pkl/{split}"]
        result = alstm(*arguments, "--workers=1")
        assert result.code == 0, result
        assert re.fullmatch(rf"converted 2 shards, {videos} videos, \d+ frames, 0 skipped, 0 failed", result.last)
        assert alstm(*arguments).last == "converted 0 shards, 0 videos, 0 frames, 2 skipped, 0 failed"
        manifest = Path(f"data/flash/pkl/{split}/manifest.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(row) for row in manifest.splitlines()]
        assert set(rows[0]) == {"shard", "videos", "frames", "bytes", "sha256", "seconds"}
        assert sum(row["videos"] for row in rows) == videos
    assert alstm("lists", "data/flash").code == 0
    assert all(path.is_absolute() for path in read_filelist("data/flash/train.list"))

    settings = {"MODEL": {"num_classes": 20, "embedding_size": 8, "lstm_size": 8, "fc_sizes": [8, 8]}}
    settings["TRAIN"] = {"filelist": "data/flash/train.list", "use_gpu": False, "batch_size": 8, "epoch": 2}
    for section, name in (("VALID", "val"), ("TEST", "test"), ("INFER", "infer")):
        settings[section] = {"filelist": f"data/flash/{name}.list", "batch_size": 4}
    Path("small.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert alstm("train", "--config=./small.yaml", "--use_gpu=False", "--log_interval=1").code == 0
    names = {path.name for path in Path("data/checkpoints").iterdir()}
    assert {"AttentionLSTM_best.pdparams", "AttentionLSTM_latest.pdparams"} <= names
    assert {"train.jsonl", "config.yaml", "run.json"} <= names

    weights = "--weights=data/checkpoints/AttentionLSTM_best.pdparams"
    result = alstm("eval", "--config=./small.yaml", weights, "--use_gpu=False")
    assert result.code == 0 and "over 9 videos" in result.last
    result = alstm("predict", "--config=./small.yaml", weights, "--infer_topk=5")
    assert result.code == 0 and result.last.startswith("9 videos")
    result = alstm("export", "--config=./small.yaml", weights, "--out=deploy/model")
    assert result.code == 0 and "model.pdiparams" in result.last
    difference = json.loads(Path("deploy/model/export.json").read_text(encoding="utf-8"))["largest_difference"]
    assert difference <= 1e-5
