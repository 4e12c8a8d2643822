"""Repeat the trainings behind the notebooks' advice with several seeds, and write docs/evidence.

    python -m tools.evidence [NAME …] [--seeds 0 1 2]

Each experiment is a table of settings; every setting is run with every seed. The data are those of PROFILE="tiny".
Another experiment is another entry of EXPERIMENTS.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from alstm_helpers.config import Config, load_config
from alstm_helpers.course.evidence import FOLDER, Run
from alstm_helpers.course.lab import Lab
from alstm_helpers.data.dataset import read_batches
from alstm_helpers.data.filelists import read_filelist
from alstm_helpers.data.flashdigits import CLASS_NAMES, NUM_CLASSES, Event, scene_of
from alstm_helpers.data.lists import ONE_VIDEO
from alstm_helpers.files import atomic_write
from alstm_helpers.metrics import YouTube8MMetrics, average_precision
from alstm_helpers.own_videos.flashdigits_clips import NEW_CLASSES, own_video
from alstm_helpers.paths import RunFolder
from alstm_helpers.pickles import load_shard, save_videos
from alstm_helpers.progress import Item
from alstm_helpers.runtime import package_version, processor_name
from alstm_helpers.training.log import Kind
from tools.site import ROOT

if TYPE_CHECKING:
    from alstm_helpers.training.crossval import CrossValidated

Curve: TypeAlias = tuple[Sequence[float], Sequence[float]]


class Measured(NamedTuple):
    """What one training gives: numbers and curves by name."""

    numbers: Mapping[str, float]
    curves: Mapping[str, Curve]


Trial: TypeAlias = Callable[[Lab, int], Measured]  # trains in the lab with a seed


@dataclass(frozen=True)
class Experiment:
    """What is measured, in one sentence, the trial of each setting, and the seeds, unless others are asked for."""

    about: str
    settings: Mapping[str, Trial]
    seeds: Sequence[int] = (0, 1, 2, 3, 4)


# --- 08: batch size, learning rate, warm-up, epochs ---------------------------------------------------------------


def half(lab: Lab) -> str:
    """Return a list of the first half of the training shards: the bench of notebook 08."""
    shards = read_filelist(lab.config().TRAIN.filelist)
    path = lab.out_dir / "half.list"
    path.write_text("".join(f"{shard}\n" for shard in shards[: len(shards) // 2]), encoding="utf-8")
    return str(path)


def few(lab: Lab) -> str:
    """Return a list of 128 training videos."""
    path = lab.out_dir / "few.list"
    save_videos(path.with_suffix(".pkl"), load_shard(read_filelist(lab.config().TRAIN.filelist)[0])[:128])
    path.write_text(f"{path.with_suffix('.pkl')}\n", encoding="utf-8")
    return str(path)


def trial(shards: Callable[[Lab], str] = half, intervals: tuple[int, int] = (0, 1), **keys: object) -> Trial:
    """Return a training of the recipe for three epochs, with some keys of TRAIN changed.

    Args:
        shards: makes the list of training shards.
        intervals: steps between rows of the log, and epochs between validations.
        keys: of TRAIN.
    """

    def run(lab: Lab, seed: int) -> Measured:
        from alstm_helpers.training.train import TrainOptions, train

        changed = {"TRAIN__epoch": 3, "TRAIN__filelist": shards(lab)} | {f"TRAIN__{k}": v for k, v in keys.items()}
        options = TrainOptions(*intervals, seed=seed, visualdl=False)
        start = time.process_time()
        done = train(lab.config(**changed), lab.out_dir / "run", options)
        numbers = {"processor_seconds": time.process_time() - start}
        numbers |= {key: done.curve("valid", key)[1][-1] for key in ("gap", "loss")}
        kinds: list[Kind] = ["valid", "train"] if intervals[0] else ["valid"]
        curves = {f"{kind} {key}": done.curve(kind, key) for kind in kinds for key in ("gap", "loss")}
        return Measured(numbers, curves)

    return run


def floor(lab: Lab, seed: int) -> Measured:
    """Return the metrics of a model that gives every class its frequency in the training videos, whatever the seed."""
    config = lab.config()
    lists = half(lab), config.VALID.filelist
    train, valid = (list(read_batches(read_filelist(path), 256, config.MODEL.num_classes)) for path in lists)
    frequency = np.concatenate([batch.labels for batch in train]).mean(axis=0)  # (C,)
    truth = np.concatenate([batch.labels for batch in valid])  # (N, C)
    metrics = YouTube8MMetrics(config.MODEL.num_classes)
    metrics.update(np.tile(frequency, (len(truth), 1)), truth, [name for batch in valid for name in batch.ids])
    loss = -np.log(np.where(truth, frequency, 1 - frequency)).sum(axis=1).mean()
    return Measured({"gap": metrics.result()["gap"], "loss": float(loss)}, {})


def of_batch(size: int, **keys: object) -> Trial:
    """Return a training with a batch size; in videos, its warm-up is as long as that of the others."""
    return trial(half, (0, 1), batch_size=size, warmup_iters=800 // size, **keys)


PARAMETERS = Experiment(
    "Notebook 08: FlashDigits, 1,000 training videos, three epochs; the recipe with one setting changed.",
    {
        "recipe": of_batch(16),
        **{f"batch {size}": of_batch(size) for size in (8, 32, 64)},
        **{f"rate {rate:g}": trial(learning_rate=rate) for rate in (0.0002, 0.006, 0.02)},
        "no warm-up": trial(warmup_iters=0),
        "rate 0.006, no warm-up": trial(learning_rate=0.006, warmup_iters=0),
        **{f"batch 64, rate {rate:g}": of_batch(64, learning_rate=rate) for rate in (0.004, 0.008)},
        "batch 8, rate 0.001": of_batch(8, learning_rate=0.001),
        "floor": floor,
    },
)
FEW_VIDEOS = Experiment(
    "Notebook 08: 128 training videos, 36 epochs at a constant learning rate: over-fitting.",
    {
        "128 videos": trial(few, (8, 2), epoch=36, schedule="step", decay_epochs=(36,)),
    },
)


# --- 01, 05: three poolings; where attention looks, and what each class reaches, epoch by epoch -------------------


def looked(config: Config, weights: Path, seed: int) -> dict[str, float]:
    """Return the AP of each class, and the share of each stream's attention on the seconds with an event.

    Args:
        config: of the training; its validation videos are measured.
        weights: of the network.
        seed: of the data.
    """
    from alstm_helpers.model.build import load_model, to_tensors
    from alstm_helpers.runtime import paddle

    net = load_model(config, str(weights))
    scores, labels, shares = [], [], defaultdict(list)
    for batch in read_batches(read_filelist(config.VALID.filelist), 128, NUM_CLASSES):
        with paddle.no_grad():
            logits, attention = net(*to_tensors(batch)[:3], return_attention=True)
        scores.append(logits.numpy())
        labels.append(batch.labels > 0)
        for stream, weights_of in zip(("see", "hear"), attention, strict=True):
            for row, id in enumerate(batch.ids):
                events = [event for event in events_of(id, seed) if CLASS_NAMES[event.label].startswith(stream)]
                if seconds := [second for event in events for second in range(event.start, event.stop)]:
                    shares[f"attention {stream}"].append(float(weights_of[row].numpy()[seconds].sum()))
    found = zip(CLASS_NAMES, np.concatenate(scores).T, np.concatenate(labels).T, strict=True)
    return {name: average_precision(score, true) for name, score, true in found} | {
        name: float(np.mean(share)) for name, share in shares.items()
    }


@cache
def events_of(id: bytes, seed: int) -> tuple[Event, ...]:
    """Return the events of a video; its pictures and sound take time to draw."""
    return scene_of(id, seed).events


def of_pooling(pooling: str, epochs: int, every_epoch: bool = False) -> Trial:
    """Return a training with a pooling; AP and attention are measured at its end, or after every epoch."""

    def run(lab: Lab, seed: int) -> Measured:
        from alstm_helpers.training.train import TrainOptions, train

        config = lab.config(MODEL__pooling=pooling, TRAIN__epoch=epochs)
        files, found = RunFolder(lab.out_dir / "run", config.MODEL.name), []

        def watched(items: Iterable[Item], *, desc: str = "", **_: object) -> Iterable[Item]:
            """Measure the epoch before: its weights are saved, and this one's first step is to come."""
            if every_epoch and not desc.startswith("epoch 1/"):
                found.append(looked(config, files.latest, lab.seed))
            yield from items

        options = TrainOptions(log_interval=0, seed=seed, visualdl=False)
        done = train(config, files.folder, options, progress=watched)
        found.append(looked(config, files.latest, lab.seed))
        curves = {"gap": done.curve("valid", "gap")}
        if every_epoch:
            curves |= {name: (curves["gap"][0], [epoch[name] for epoch in found]) for name in found[0]}
        return Measured({"gap": curves["gap"][1][-1]} | found[-1], curves)

    return run


POOLINGS = Experiment(
    "Notebooks 01 and 05: FlashDigits, 2,000 training videos; AP of each class, and attention on the true seconds.",
    {
        "attention": of_pooling("attention", 10, every_epoch=True),
        "mean": of_pooling("mean", 10),
        "last": of_pooling("last", 10),
        "attention, 4 epochs": of_pooling("attention", 4),
    },
    seeds=(0, 1, 2),  # what they show is far larger than what a seed changes
)


# --- 09: few clips ------------------------------------------------------------------------------------------------

CLIPS, TEST_CLIPS = 30, range(10_000, 10_200)  # of notebook 09: its own, and those that no training sees
THEN = {"TRAIN.freeze_epochs": 10}  # freeze, then unfreeze


def clips_list(lab: Lab, numbers: Iterable[int], name: str) -> str:
    """Return a list of clips with the two new classes."""
    path = lab.out_dir / f"{name}.list"
    save_videos(path.with_suffix(".pkl"), [own_video(lab.seed, number) for number in numbers])
    path.write_text(f"{path.with_suffix('.pkl')}\n", encoding="utf-8")
    return str(path)


def clips_config(lab: Lab, keys: Mapping[str, object]) -> Config:
    """Return the settings of notebook 09's trainings, which judge the test clips."""
    test = lab.out_dir / "test.list"
    if not test.exists():
        clips_list(lab, TEST_CLIPS, "test")
    own: dict[str, object] = {"MODEL.num_classes": len(NEW_CLASSES), "TRAIN.patience": None}
    own |= {"TRAIN.epoch": 30, "TRAIN.batch_size": 8, "TRAIN.warmup_iters": 10}
    own |= {"TRAIN.learning_rate": 0.001, "TRAIN.schedule": "step", "TRAIN.decay_epochs": []}
    own |= {"VALID.filelist": str(test), "INFER.class_names": None}
    return lab.config(**{key.replace(".", "__"): value for key, value in {**own, **keys}.items()})


def few_clips(keys: Mapping[str, object] = {}, *, count: int = 24, pretrained: bool = True) -> Trial:
    """Return a training on so many clips; each seed draws its own clips, the same in every setting."""

    def run(lab: Lab, seed: int) -> Measured:
        from alstm_helpers.training.train import TrainOptions, train

        shards = clips_list(lab, range(1000 * seed, 1000 * seed + count), "clips")
        pretrain = lab.ensure_model() if pretrained else None
        options = TrainOptions(valid_interval=5, log_interval=0, seed=seed, pretrain=pretrain, visualdl=False)
        start = time.process_time()
        done = train(clips_config(lab, {"TRAIN.filelist": shards, **keys}), lab.out_dir / "run", options)
        epochs, gaps = done.curve("valid", "gap")
        numbers = {"processor_seconds": time.process_time() - start, "gap": gaps[-1], "best gap": max(gaps)}
        return Measured(numbers, {"gap": (epochs, gaps)})

    return run


def folds(lab: Lab, seed: int) -> Measured:
    """Cross-validate a seed's clips, and judge trainings on all of them by the test clips."""
    from alstm_helpers.training.crossval import CrossValidation, cross_validate

    shards = clips_list(lab, range(1000 * seed, 1000 * seed + CLIPS), "clips")
    config = clips_config(lab, {"TRAIN.filelist": shards, "VALID.filelist": shards, **THEN})
    options = CrossValidation(folds=5, seed=seed, pretrain=lab.ensure_model())
    found = cross_validate(config, lab.out_dir / "folds", options)
    numbers = {"pooled": found["pooled"]["gap"], "mean of folds": found["gap_mean"], "std of folds": found["gap_std"]}
    numbers |= {"baseline": found["baseline"]["pooled"]["gap"]}
    numbers |= {f"fold {n}": fold["gap"] for n, fold in enumerate(found["folds"], 1)}
    return Measured(numbers | {"all clips, test": few_clips(THEN, count=CLIPS)(lab, seed).numbers["gap"]}, {})


FEW_CLIPS = Experiment(
    "Notebook 09: two new classes, 24 clips, 30 epochs, judged by 200 other clips; each seed draws its own clips.",
    {
        "plain fine-tuning": few_clips(),
        "from scratch": few_clips(pretrained=False),
        "dropout, weight decay": few_clips({"MODEL.drop_rate": 0.5, "TRAIN.weight_decay": 0.01}),
        "frozen": few_clips({"TRAIN.freeze_epochs": 30}),
        "freeze, then unfreeze": few_clips(THEN),
        "class weights": few_clips({"TRAIN.class_weights": "balanced"}),
        **{f"{count} clips": few_clips(THEN, count=count) for count in (6, 12, 48, 96)},
    },
)
FOLDS = Experiment(
    "Notebook 09: five-fold cross-validation of 30 clips, and 200 other clips; each seed draws its own clips.",
    {"30 clips": folds},
)


# --- 09: real clips -----------------------------------------------------------------------------------------------

REAL = ROOT / "build" / "real"  # features of clips that are not ours; data/README.md says how they are made


def cross_validated(
    name: str, lab: Lab, seed: int, group: str = ONE_VIDEO, pooling: str | None = None
) -> CrossValidated:
    """Cross-validate a set of real clips; the seed divides the folds and draws the weights."""
    from alstm_helpers.own_videos.refit import remaker
    from alstm_helpers.training.crossval import CrossValidation, cross_validate

    changed = {"MODEL.pooling": pooling} if pooling else {}
    config = load_config(REAL / name / "own.yaml", {"TRAIN.seed": seed, **changed})
    remake, _ = remaker(config.TRAIN.filelist)
    return cross_validate(config, lab.out_dir / "real", CrossValidation(seed=seed, group=group, remake=remake))


def on_real(name: str, pooling: str | None = None, group: str = ONE_VIDEO) -> Trial:
    """Return a cross-validation of a set of real clips, by default with the pooling of own.yaml."""

    def run(lab: Lab, seed: int) -> Measured:
        found = cross_validated(name, lab, seed, group, pooling)
        low, high = found["difference"]["interval_95"]
        numbers = {"network": found["pooled"]["gap"], "baseline": found["baseline"]["pooled"]["gap"]}
        numbers |= {"low": low, "high": high, "clips": found["pooled"]["num_videos"]}
        return Measured({**numbers, "classes": load_config(REAL / name / "own.yaml").MODEL.num_classes}, {})

    return run


def on_signs(name: str, group: str) -> Trial:
    """Return a cross-validation of the course's real clips, divided at random or by person."""

    def run(lab: Lab, seed: int) -> Measured:
        found = cross_validated(name, lab, seed, group)
        methods = {"network": found["pooled"], "baseline": found["baseline"]["pooled"]}
        return Measured(
            {f"{method}, {key}": value[key] for method, value in methods.items() for key in ("gap", "hit_at_1")}, {}
        )

    return run


REAL_CLIPS = Experiment(
    "Notebook 09: five-fold cross-validation of real clips with own.yaml as `alstm features` writes it.",
    {name: on_real(name) for name in ("fights", "exercises", "wagons", "digits")},
)

OTHER_POOLINGS = Experiment(
    "data/README.md: real clips with the pooling that own.yaml has not; and a fifth set, grouped by scene, with both.",
    {f"{name}, attention": on_real(name, "attention") for name in ("fights", "exercises", "wagons")}
    | {"digits, attention+deviation": on_real("digits", "attention+deviation")}
    | {
        f"people, {pooling}": on_real("people", pooling, "^s[0-9]+_")
        for pooling in ("attention", "attention+deviation")
    },
)

SIGNERS = Experiment(
    "Notebook 09: one hand or both? Five-fold cross-validation of 20 signs by five people, divided in two ways.",
    {
        f"{seen}, folds {how}": on_signs(folder, group)
        for seen, folder in (("8 × 8 grey squares", "hands-grey"), ("EfficientNet-Lite0", "hands-lite0"))
        for how, group in (("at random", ONE_VIDEO), ("by person", "^."))
    },
)

EXPERIMENTS = {
    "parameters": PARAMETERS,
    "few-videos": FEW_VIDEOS,
    "poolings": POOLINGS,
    "few-clips": FEW_CLIPS,
    "folds": FOLDS,
    "real-clips": REAL_CLIPS,
    "other-poolings": OTHER_POOLINGS,
    "signers": SIGNERS,
}


# --- the file -----------------------------------------------------------------------------------------------------


def rounded(value: float) -> float:
    """Round to four significant digits, so that a difference of files can be read."""
    return float(f"{value:.4g}")


def row_of(run: Run) -> str:
    """Return a run as one line of JSON, its numbers rounded."""
    numbers = {key: rounded(value) for key, value in run.numbers.items()}
    curves = {key: [[rounded(v) for v in axis] for axis in curve] for key, curve in run.curves.items()}
    return json.dumps({"setting": run.setting, "seed": run.seed, "numbers": numbers, "curves": curves})


def made_with() -> dict[str, str]:
    """Return what runs that are made now are made with."""
    return {
        "paddlepaddle": f"Paddle {package_version('paddlepaddle')}",
        "python": f"Python {platform.python_version()}",
        "processor": processor_name(),
    }


def text_of(about: str, command: str, runs: Iterable[Run]) -> str:
    """Return the content of a file of docs/evidence: JSON with one run per line."""
    head = json.dumps({"about": about, "command": command, "made_with": made_with()}, indent=1, ensure_ascii=False)
    rows = ",\n  ".join(row_of(run) for run in runs)
    return f'{head[:-2]},\n "runs": [\n  {rows}\n ]\n}}\n'


def compute(name: str, lab: Lab, seeds: Sequence[int], keep: bool) -> None:
    """Run every setting of an experiment with every seed; print a line for each, and write the file.

    Args:
        name: of the experiment.
        lab: its data.
        seeds: of the trainings.
        keep: take over what the file already has; refused if that was made with something else, as a file names one.
    """
    path, done = ROOT / FOLDER / f"{name}.json", dict[tuple[str, int], Run]()
    if keep and path.exists():
        kept = json.loads(path.read_bytes())
        if kept["made_with"] != made_with():
            there, here = (", ".join(versions.values()) for versions in (kept["made_with"], made_with()))
            sys.exit(f"error: {path}: its runs were made with {there}, this is {here}; compute all, without --keep")
        done = {(row["setting"], row["seed"]): Run(**row) for row in kept["runs"]}
    experiment = EXPERIMENTS[name]
    wanted = [(setting, seed) for setting in experiment.settings for seed in seeds]
    command = f"python -m tools.evidence {name} --seeds {' '.join(map(str, seeds))}"
    for setting, seed in wanted:
        if (setting, seed) not in done:
            done[setting, seed] = Run(setting, seed, *experiment.settings[setting](lab, seed))
        numbers = {key: rounded(value) for key, value in done[setting, seed].numbers.items()}
        print(name, setting, seed, numbers, sep="  ", flush=True)
        with atomic_write(path, "w") as file:  # after each, so that an interruption loses none
            file.write(text_of(experiment.about, command, [done[key] for key in wanted if key in done]))


def main() -> None:
    """Compute the experiments named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Compute docs/evidence.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(EXPERIMENTS)}")
    parser.add_argument("--seeds", nargs="+", type=int, help="by default those of each experiment")
    parser.add_argument("--keep", action="store_true", help="compute only runs that the file does not have yet")
    options = parser.parse_args()
    if unknown := set(options.names) - set(EXPERIMENTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(EXPERIMENTS)}")
    lab = Lab("evidence", profile="tiny", seed=0, out_dir=str(ROOT / "build" / "evidence"))
    lab.ensure_data()
    for name in options.names or [
        name for name in EXPERIMENTS if EXPERIMENTS[name] not in (REAL_CLIPS, SIGNERS) or REAL.is_dir()
    ]:
        compute(name, lab, options.seeds or EXPERIMENTS[name].seeds, options.keep)


if __name__ == "__main__":
    main()
