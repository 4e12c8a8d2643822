"""Test that a backbone is tried before it works on all clips."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper
from onnx.helper import make_node as node

from alstm_helpers.errors import AlstmError
from alstm_helpers.own_videos.check import check_backbone
from alstm_helpers.own_videos.presets import NORMALISATIONS, SOUNDS


def test_a_network_for_pictures(onnx_file, tmp_path, alstm):
    """The numbers are those of the network, for the first input too."""
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], [2, 3])
    done = check_backbone(name, given=NORMALISATIONS["bytes"])
    assert done.numbers == 3 and done.unit == "32 × 32 pixels" and len(done.sha256 or "") == 64
    assert [each.what for each in done.tried] == ["grey", "a disc", "noise"]
    assert done.tried[0].smallest == done.tried[0].largest == 127 and done.tried[2].largest == pytest.approx(127, abs=9)
    assert all(each.milliseconds > 0 for each in done.tried) and 0 < done.apart < 1
    printed = alstm("backbones", "check", str(tmp_path / "a.onnx"), "--normalisation", "bytes").out
    assert "scale 1.0" in printed and f"sha256 {done.sha256}" in printed and "3 numbers a second" in printed


def test_a_network_for_sound(onnx_file, tmp_path):
    nodes = [node("Abs", ["x"], ["loud"]), node("ReduceMean", ["loud"], ["y"], axes=[1], keepdims=1)]
    name = onnx_file(tmp_path / "a.onnx", ["N", "S"], nodes=nodes)
    done = check_backbone(name, sound=True, given=SOUNDS["panns"])
    assert [each.what for each in done.tried] == ["silence", "440 Hz", "noise"] and done.unit == "32000 samples"
    assert done.tried[0].largest == 0 and done.tried[1].largest == pytest.approx(0.6 / np.pi, rel=1e-2)


@pytest.mark.parametrize("name, sound, numbers", [("flashdigits", False, 1024), ("logmel", True, 128)])
def test_the_packages_own(name, sound, numbers):
    done = check_backbone(name, sound=sound)
    assert done.numbers == numbers and done.takes is None and done.sha256 is None


def test_numbers_that_are_none(onnx_file, tmp_path):
    nodes = [node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0), node("Sub", ["m", "c"], ["d"])]
    nodes += [node("Sqrt", ["d"], ["y"])]
    constant = numpy_helper.from_array(np.array(127.5, np.float32), "c")
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], nodes=nodes, initializer=[constant])
    with pytest.raises(AlstmError, match=r"for grey it gives NaN, infinity or .*; check its normalisation"):
        check_backbone(name, given=NORMALISATIONS["bytes"])


def test_a_network_that_says_nothing(onnx_file, tmp_path):
    """As one does that gets bytes where it wants numbers from 0 to 1, and saturates."""
    nodes = [node("ReduceMean", ["x"], ["m"], axes=[2, 3], keepdims=0), node("Clip", ["m", "low", "high"], ["y"])]
    limits = [numpy_helper.from_array(np.array(value, np.float32), name) for value, name in ((0, "low"), (1, "high"))]
    name = onnx_file(tmp_path / "a.onnx", ["N", 3, 32, 32], nodes=nodes, initializer=limits, dtype=TensorProto.UINT8)
    with pytest.raises(AlstmError, match="the same numbers for different inputs, so it cannot tell clips apart; check"):
        check_backbone(name)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["flashdigits", "--audio_like", "panns"], "--audio_like is for --sound"),
        (["logmel", "--sound", "--pooling", "mean"], "--normalisation and --pooling are for pictures"),
        (["flashdigits", "--pooling", "mean"], "flashdigits: what it takes is known; leave out --normalisation and"),
    ],
)
def test_flags_that_would_do_nothing(alstm, arguments, said):
    assert said in alstm("backbones", "check", *arguments).err
