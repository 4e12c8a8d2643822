"""Commands of the deployment wing (chapter 6): export, serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alstm_helpers.commands.options import (
    Given,
    class_names_of,
    clip_seconds_flag,
    config_flags,
    configure,
    fetched,
    filelist_flag,
    line,
    quoted,
    topk_flag,
)
from alstm_helpers.progress import progress_bar

if TYPE_CHECKING:
    from alstm_helpers.config import Config
    from alstm_helpers.deployment.onnx_graph import FrameType
    from alstm_helpers.deployment.predictor import Predictor
    from alstm_helpers.own_videos.extractor import Extractor
    from alstm_helpers.own_videos.labeller import Labeller


@click.command()
@config_flags()
@click.option("--weights", metavar="W", required=True, help="Trained .pdparams.")
@click.option("--out", metavar="D", required=True, help="Folder for the exported model.")
@click.option("--onnx", is_flag=True, help="Also write model.onnx, which ONNX Runtime runs without Paddle.")
@click.option("--int8", is_flag=True, help="Also write model.int8.onnx: a quarter of the size; its GAP is measured.")
@click.option(
    "--onnx_frames",
    type=click.Choice(["uint8", "float32"]),
    default="uint8",
    show_default=True,
    help="What ONNX files take: YouTube-8M's bytes, or dequantised features.",
)
@filelist_flag("VALID", "Where --int8 measures GAP.")
@click.option("--video", is_flag=True, help="Also write label.py, which labels video files with this folder alone.")
@click.option("--features", metavar="DIR", help="With --video: what made the features. [default: beside the lists]")
def export(
    given: Given,
    weights: str,
    out: str,
    onnx: bool,
    int8: bool,
    onnx_frames: FrameType,
    filelist: str | None,
    video: bool,
    features: str | None,
) -> None:
    """Export a Paddle Inference model and ONNX, checked against the trainer on a batch of unequal lengths."""
    from alstm_helpers.extras import require

    if features and not video:
        raise click.UsageError("--features is for --video.")
    onnx = onnx or video or int8
    if onnx:
        require("onnx", "onnxruntime")  # before the work, not after half of it
    config = configure(given, {"VALID.filelist": filelist})
    named, weights = weights, fetched(weights)  # a wrong path is told before Paddle is imported
    from alstm_helpers.data.dataset import read_batches
    from alstm_helpers.data.filelists import read_filelist
    from alstm_helpers.deployment.export import export as run
    from alstm_helpers.deployment.export import origin_of
    from alstm_helpers.deployment.predictor import gap_of
    from alstm_helpers.model.build import load_model

    def measure(predictor: Predictor) -> float:
        size, classes = config.VALID.batch_size, config.MODEL.num_classes
        batches = read_batches(read_filelist(config.VALID.filelist), size, classes, by_length=True)
        return gap_of(predictor, progress_bar(batches, desc="scoring"), classes, config.MODEL.topk)

    extractor = _packable(config, features, weights) if video else None
    net = load_model(config, weights)
    gap = measure if int8 else None
    names, origin = class_names_of(config, named), origin_of(weights)
    done = run(net, out, onnx=onnx and onnx_frames, class_names=names, int8_gap=gap, origin=origin)
    if int8:
        gaps = done["int8"]
        line(f"GAP {gaps['gap_float32']:.4f}, with weights as bytes {gaps['gap_int8']:.4f}")
    line(f"{', '.join(done['files'])} in {out}; differs from the trainer by at most {done['largest_difference']:.1e}")
    if extractor:
        from alstm_helpers.own_videos.packed import pack

        pack(extractor, Path(out))
        script = quoted(Path(out, "label.py"))
        line(f"for video files: python {script} CLIP.mp4; it needs onnxruntime, av and numpy alone")


def _packable(config: Config, features: str | None, weights: str) -> Extractor:
    """Return what made a model's features, if it can be packed."""
    from alstm_helpers.data.feature_scale import features_folder, require_same_scale
    from alstm_helpers.own_videos.packed import require_packable
    from alstm_helpers.own_videos.watch import find_extractor

    require_same_scale(weights, features_folder(config, features))
    extractor = find_extractor(config, features).complete()
    require_packable(extractor)
    return extractor


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Of 127.0.0.1.")
@topk_flag(20, "Labels per answer.")
@click.option("--threads", type=click.IntRange(min=1), help="Cores for the model. [default: all]")
@click.option(
    "--features",
    metavar="DIR",
    help="Take videos, too: what made the features the model learnt from. [default: MODEL, if it has features.json]",
)
@click.option(
    "--max_megabytes", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Of a video's file."
)
@clip_seconds_flag
def serve(
    model: str,
    port: int,
    infer_topk: int,
    threads: int | None,
    features: str | None,
    max_megabytes: int,
    clip_seconds: float | None,
) -> None:
    """Answer HTTP requests with an exported MODEL (a folder or model.onnx), on this machine only.

    With --features, a page labels video files: their labels, scores over time, and pictures of their seconds.
    """
    from alstm_helpers.data.feature_scale import is_of_own_videos
    from alstm_helpers.deployment.predictor import Predictor
    from alstm_helpers.deployment.serve import run_server
    from alstm_helpers.deployment.videos import Videos
    from alstm_helpers.loopback import listening

    predictor = Predictor(model, threads=threads)
    beside = predictor.path.parent
    where = features or (str(beside) if is_of_own_videos(beside) else None)
    videos = None
    if where:
        label = _labeller(predictor, where, infer_topk, clip_seconds)
        videos = Videos(label, max_megabytes * 1_000_000)
    with listening(port) as listener:
        address = f"http://127.0.0.1:{port}"
        line(f"{predictor.path} on {address}/predict; stop with Ctrl-C")
        if videos:
            line(f"drop a video on {address}/")
        run_server(predictor, listener, top_k=infer_topk, videos=videos)


def _labeller(predictor: Predictor, features: str, top_k: int, clip_seconds: float | None) -> Labeller:
    """Return what labels videos, once everything that it needs is there."""
    from alstm_helpers.data.feature_scale import require_same_scale
    from alstm_helpers.extras import require
    from alstm_helpers.own_videos.extractor import Extractor
    from alstm_helpers.own_videos.labeller import Labeller

    require("av")
    require_same_scale(predictor.path, Path(features))
    return Labeller(predictor, Extractor.load(features).complete(), top_k, clip_seconds)
