"""Check the package on a GPU, for ``make gpu-check``: train, resume, evaluate and predict, then the full size.

The first part trains a small model on FlashDigits in each precision, resumes it from its checkpoint, and compares the
scores of the GPU with those of the CPU. The second part trains the full-size model on videos of YouTube-8M's length,
128 per step, and measures videos per second and peak GPU memory, in float32 and in mixed precision. Prints one line
per check; the exit status is 1 if one fails or there is no GPU.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alstm_helpers.config import Config, TrainSection
from alstm_helpers.course.recipes import load_recipe
from alstm_helpers.data.convert import ConvertOptions, convert
from alstm_helpers.data.dataset import Batch, read_batches
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.data.flashdigits import Settings, make_data
from alstm_helpers.data.lists import write_lists
from alstm_helpers.errors import AlstmError
from alstm_helpers.evaluation.evaluate import score_batches
from alstm_helpers.evaluation.predict import predict
from alstm_helpers.machine.bench_model import full_size_batch
from alstm_helpers.machine.doctor import FAIL, OK, Check
from alstm_helpers.model import AttentionLSTM
from alstm_helpers.model.build import load_model, to_tensors
from alstm_helpers.model.loss import summed_loss
from alstm_helpers.paths import RunFolder
from alstm_helpers.runtime import paddle, set_device
from alstm_helpers.training.precision import Precision
from alstm_helpers.training.train import TrainOptions, make_optimizer, train

PRECISIONS = ("off", "bfloat16", "float16")
BATCH, STEPS, WARM_UP = 128, 5, 2


def verdict(name: str, good: bool, detail: str) -> Check:
    """Return one line of the output."""
    return Check(name, OK if good else FAIL, detail)


def small_config(data: Path, amp: str) -> Config:
    """Return the FlashDigits recipe for two epochs on one GPU in this precision."""
    settings = {"TRAIN.use_gpu": True, "TRAIN.num_gpus": 1, "TRAIN.amp": amp, "TRAIN.epoch": 2}
    return load_recipe("flashdigits.yaml", data, settings, {})


def small_data(folder: Path) -> Path:
    """Make 500 videos of FlashDigits with pickles and lists; return their folder."""
    make_data(folder, Settings(train=400, val=100, shards=2), workers=1)
    for split in ("train", "val"):
        convert(folder / "tf" / split, folder / "pkl" / split, ConvertOptions(workers=1))
    write_lists(folder)
    return folder


def check_training(data: Path, folder: Path, amp: str) -> Iterator[Check]:
    """Train on the GPU, then stop another training after one epoch and resume it."""
    config = small_config(data, amp)
    whole = train(config, folder / "whole", TrainOptions(seed=0, log_interval=10, visualdl=False))
    losses = whole.curve("train", "loss")[1]
    good = all(map(math.isfinite, losses)) and losses[-1] < losses[0]
    yield verdict(f"train, {amp}", good, f"loss {losses[0]:.2f} → {losses[-1]:.2f}, best GAP {whole.best_gap:.3f}")
    first = config.model_copy(deep=True)
    first.TRAIN.epoch, first.TRAIN.schedule, config.TRAIN.schedule = 1, "step", "step"
    train(first, folder / "stopped", TrainOptions(seed=0, visualdl=False))
    resumed = train(config, folder / "stopped", TrainOptions(resume=folder / "stopped", visualdl=False))
    losses = resumed.curve("valid", "loss")[1]
    good = len(losses) == 2 and losses[1] < losses[0]
    yield verdict(f"resume, {amp}", good, f"validation loss {losses[0]:.2f} → {losses[-1]:.2f}")


def check_scores(data: Path, weights: Path) -> Iterator[Check]:
    """Compare the scores of the same weights on both devices, then predict on the GPU."""
    config = small_config(data, "off")
    shards = read_filelist(config.VALID.filelist)
    scores = {}
    for device in ("gpu", "cpu"):
        set_device(device == "gpu")
        net = load_model(config, str(weights))
        batches = read_batches(shards, 64, config.MODEL.num_classes)
        scores[device] = np.concatenate([found for _, found, _ in score_batches(net, batches)])
    difference = float(np.abs(scores["gpu"] - scores["cpu"]).max())
    yield verdict("scores, GPU − CPU", difference < 1e-3, f"at most {difference:.1e}")
    set_device(True)
    rows = list(predict(load_model(config, str(weights)), read_batches(shards, 64, config.MODEL.num_classes), top_k=5))
    yield verdict("predict", len(rows) == len(scores["gpu"]), f"{len(rows)} videos")


def check_full_size(batch: Batch, amp: str) -> Check:
    """Measure training steps of the full-size model: rate and peak memory."""
    paddle.device.cuda.empty_cache()
    paddle.device.cuda.reset_max_memory_allocated()
    net, precision = AttentionLSTM(), Precision(amp)
    optimizer = make_optimizer(net, TrainSection())
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            paddle.device.synchronize()
            start = time.perf_counter()
        rgb, audio, lengths, labels = to_tensors(batch)
        with precision.autocast():
            logits = net(rgb, audio, lengths)
        loss = summed_loss(logits.astype("float32"), labels)
        precision.backward(loss)
        precision.step(optimizer)
        optimizer.clear_grad()
    paddle.device.synchronize()
    rate = STEPS * BATCH / (time.perf_counter() - start)
    memory = paddle.device.cuda.max_memory_allocated() / 2**30
    return verdict(f"full size, {amp}", math.isfinite(float(loss)), f"{rate:.0f} videos/s, at most {memory:.1f} GiB")


def checks(folder: Path) -> Iterator[Check]:
    """Run all checks with files in this folder."""
    data = small_data(folder / "data")
    for amp in PRECISIONS:
        yield from check_training(data, folder / amp, amp)
    yield from check_scores(data, RunFolder(folder / "off" / "whole").best)
    batch = full_size_batch(BATCH)
    for amp in PRECISIONS:
        yield check_full_size(batch, amp)


def main() -> int:
    """Print a line per check; return the exit status."""
    try:
        print("device", set_device(True), paddle.device.cuda.get_device_name())
    except AlstmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for check in checks(Path(folder)):
            print(f"{check.status:<4}  {check.name:<22} {check.detail}", flush=True)
            failed += check.status == FAIL
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
