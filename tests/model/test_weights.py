"""Weights files: Paddle reads them, misfits are refused by name, and loading never runs code."""

from __future__ import annotations

import os
import pickle
import warnings
from collections import OrderedDict

import numpy as np
import pytest
from support import run_python

from alstm_helpers.errors import AlstmError, UnsafePickle
from alstm_helpers.model import POOLINGS
from alstm_helpers.model.weights import apply_weights, load_arrays, save_weights, state_of
from alstm_helpers.runtime import paddle
from alstm_helpers.safe_pickle import save_plain


def a_net(seed=0, num_classes=5, lstm_size=4, pooling="attention"):
    paddle.seed(seed)
    return POOLINGS[pooling](num_classes, (6, 3), embedding_size=3, lstm_size=lstm_size, fc_sizes=(6, 7))


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture
def saved(tmp_path):
    """A weights file and the arrays that should be in it."""
    net = a_net(seed=1)
    path = tmp_path / "out" / "net.pdparams"
    save_weights(net, path)
    return path, state_of(net)


def test_round_trip(saved):
    path, arrays = saved
    net = a_net(seed=2)
    assert not same(state_of(net), arrays)
    assert same(load_arrays(path), arrays)
    assert apply_weights(net, load_arrays(path), str(path)) == []
    assert same(state_of(net), arrays)


def test_every_array_is_written_once(saved):
    assert len(saved[1]) == len(a_net().parameters())
    assert not [name for name in load_arrays(saved[0]) if ".cell_" in name]


def test_paddle_itself_reads_the_file(saved):
    path, arrays = saved
    loaded = paddle.load(str(path))
    assert same({name: np.asarray(value) for name, value in loaded.items()}, arrays)
    net = a_net(seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle misses the second names of the LSTM's arrays
        net.set_state_dict(loaded)
    assert same(state_of(net), arrays)


def test_numpy_alone_reads_the_file(saved):
    """It holds no class of Paddle, so another framework can load it."""
    code = "import pickle, sys; a = pickle.load(open(sys.argv[1], 'rb')); print(len(a), 'paddle' in sys.modules)"
    assert run_python(code, str(saved[0])).stdout.split() == [str(len(saved[1])), "False"]


def test_a_file_of_paddle_s_own_is_read(tmp_path):
    """It lists the LSTM's arrays twice: as weight_ih_l0 and as 0.cell_fw.weight_ih."""
    net = a_net(seed=3)
    path = tmp_path / "paddle.pdparams"
    paddle.save(net.state_dict(), str(path))
    arrays = load_arrays(path)
    assert "bi_lstm0.0.cell_fw.weight_ih" in arrays
    other = a_net(seed=4)
    assert apply_weights(other, arrays, "file") == []
    assert same(state_of(other), state_of(net))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_tensors_that_paddle_saved_in_a_dict_are_read(tmp_path, protocol):
    """Paddle writes such a tensor as ``(name, array)``, and a state dict inside another as an OrderedDict."""
    net = a_net(seed=3)
    path = tmp_path / "paddle.pdparams"
    paddle.save({**net.state_dict(), "inside": OrderedDict(net.state_dict())}, str(path), protocol=protocol)
    other = a_net(seed=4)
    assert apply_weights(other, load_arrays(path), "file") == []
    assert same(state_of(other), state_of(net))


def test_arrays_of_another_byte_order_and_names_of_any_bytes(tmp_path):
    path = tmp_path / "odd.pdparams"
    save_plain(path, {b"\xff": np.arange(3, dtype=">f4")})
    ((name, array),) = load_arrays(path).items()
    assert name == "\\xff" and array.dtype.isnative and array.tolist() == [0, 1, 2]


def test_second_names_of_lstm_arrays_are_tolerated(saved):
    arrays = load_arrays(saved[0])
    arrays["bi_lstm0.0.cell_fw.weight_ih"] = arrays["bi_lstm0.weight_ih_l0"]
    net = a_net(seed=2)
    assert apply_weights(net, arrays, "file") == []
    assert same(state_of(net), saved[1])


@pytest.mark.parametrize("keep_what_fits", [False, True])
def test_second_names_with_other_values_are_refused(saved, keep_what_fits):
    """Paddle would take the second name."""
    arrays = load_arrays(saved[0])
    arrays["bi_lstm1.0.cell_bw.bias_hh"] = arrays["bi_lstm1.bias_hh_l0_reverse"] + 1
    net = a_net(seed=2)
    before = state_of(net)
    names = r"bi_lstm1\.0\.cell_bw\.bias_hh: differs from bi_lstm1\.bias_hh_l0_reverse"
    with pytest.raises(AlstmError, match=rf"^my file, {names}, the other name of the same parameter; "):
        apply_weights(net, arrays, "my file", keep_what_fits=keep_what_fits)
    assert same(state_of(net), before)


def test_an_array_of_a_layer_that_the_network_lacks_is_named(saved):
    """The mean of the states in the place of attention: it would label, but not as it was trained to."""
    net = a_net(seed=2, pooling="mean")
    before = state_of(net)
    with pytest.raises(AlstmError, match=r"^my file, att_fc0\.weight: the network has no such layer; set MODEL\.\*"):
        apply_weights(net, load_arrays(saved[0]), "my file")
    assert same(state_of(net), before)
    apply_weights(net, load_arrays(saved[0]), "my file", keep_what_fits=True)
    assert not same(state_of(net), before)
    apply_weights(a_net(), load_arrays(saved[0]) | {"teacher.weight": np.zeros(3, np.float32)}, "my file")


def test_a_missing_array_is_named(saved):
    arrays = load_arrays(saved[0])
    del arrays["att_fc1.bias"]
    net = a_net(seed=2)
    before = state_of(net)
    with pytest.raises(AlstmError, match=r"^my file, att_fc1\.bias: it is missing; "):
        apply_weights(net, arrays, "my file")
    assert same(state_of(net), before)  # nothing half done


def test_a_wrong_shape_is_named(saved):
    with pytest.raises(AlstmError, match=r"fc_logit\.weight: shape \[7, 5\], not \[7, 8\]; .*MODEL"):
        apply_weights(a_net(num_classes=8), load_arrays(saved[0]), "file")


def test_a_transposed_array_is_named(saved):
    """As PyTorch would write it: the same number of elements in another shape."""
    arrays = load_arrays(saved[0])
    arrays["fc_out2.weight"] = arrays["fc_out2.weight"].T
    with pytest.raises(AlstmError, match=r"fc_out2\.weight: shape \[7, 6\], not \[6, 7\]"):
        apply_weights(a_net(), arrays, "file")


def test_a_wrong_type_is_named_or_converted(saved):
    """Half-precision or float64 files either load or are refused by name; they never end in Paddle's own error."""
    arrays = {name: array.astype(np.float64) for name, array in load_arrays(saved[0]).items()}
    net = a_net(seed=2)
    try:
        apply_weights(net, arrays, "file")
    except AlstmError as error:
        assert "float64" in str(error)
    else:
        assert same(state_of(net), saved[1])


@pytest.mark.parametrize(("dtype", "value"), [("f4", np.nan), ("f2", -np.inf), ("f8", 1e300)])
def test_an_array_with_nan_or_infinity_is_named(saved, dtype, value):
    """A ReLU and a maximum hide it: the scores would be finite, and wrong."""
    _, arrays = saved
    arrays["fc_feature0.weight"] = arrays["fc_feature0.weight"].astype(dtype)
    arrays["fc_feature0.weight"][1, 1] = value
    for keep in (False, True):
        with pytest.raises(
            AlstmError, match=r"a file, fc_feature0\.weight: it holds NaN or infinity; use other weights"
        ):
            apply_weights(a_net(), arrays, "a file", keep_what_fits=keep)


def test_keep_what_fits_for_fine_tuning(saved):
    path, arrays = saved
    net = a_net(seed=2, num_classes=8)
    own = state_of(net)
    left = apply_weights(net, load_arrays(path), str(path), keep_what_fits=True)
    assert sorted(left) == ["fc_logit.bias", "fc_logit.weight"]
    for name, array in state_of(net).items():
        assert np.array_equal(array, own[name] if name in left else arrays[name]), name


@pytest.mark.parametrize("num_classes, kept", [(8, 5), (8, 3), (4, 4)])
def test_classes_that_are_the_same_keep_their_part_of_the_last_layer(saved, num_classes, kept):
    """The others start from their own random values."""
    path, arrays = saved
    net, fresh = a_net(seed=2, num_classes=num_classes), state_of(a_net(seed=2, num_classes=num_classes))
    assert apply_weights(net, load_arrays(path), str(path), keep_what_fits=True, keep_classes=kept) == []
    found = state_of(net)
    for name in ("fc_logit.weight", "fc_logit.bias"):
        assert np.array_equal(found[name][..., :kept], arrays[name][..., :kept])
        assert np.array_equal(found[name][..., kept:], fresh[name][..., kept:])
    assert np.array_equal(found["fc_out1.weight"], arrays["fc_out1.weight"])


def test_more_classes_than_the_file_has_cannot_be_kept(saved):
    path, _ = saved
    net = a_net(seed=2, num_classes=8)
    with pytest.raises(
        AlstmError, match=r"fc_logit\.weight: shape \[7, 5\], which does not have 6 classes to keep; set TRAIN"
    ):
        apply_weights(net, load_arrays(path), str(path), keep_what_fits=True, keep_classes=6)


def test_a_number_instead_of_a_bias_has_no_classes_to_keep(saved):
    path, _ = saved
    arrays = {**load_arrays(path), "fc_logit.bias": np.array(1, np.float32)}
    with pytest.raises(AlstmError, match=r"fc_logit\.bias: shape \[\], which does not have 5 classes to keep"):
        apply_weights(a_net(seed=2, num_classes=8), arrays, "w", keep_what_fits=True, keep_classes=5)


def test_more_classes_than_the_network_has_cannot_be_kept(saved):
    path, _ = saved
    net = a_net(seed=2, num_classes=4)
    said = r"fc_logit\.weight: the network has 4 classes, and 5 are to be kept; set TRAIN"
    with pytest.raises(AlstmError, match=said):
        apply_weights(net, load_arrays(path), str(path), keep_what_fits=True, keep_classes=5)


def test_keep_what_fits_refuses_a_file_of_which_nothing_fits(tmp_path):
    with pytest.raises(AlstmError, match="no array fits this model"):
        apply_weights(a_net(), {"conv1.weight": np.zeros(3, np.float32)}, "file", keep_what_fits=True)


@pytest.mark.parametrize("names", [["fc_0.w_0", "lstm_0.w_0"], ["lstm_1.b_0"], ["dynamic_lstm_0.weight"]])
def test_a_static_graph_file_is_refused_with_the_reason(tmp_path, names):
    path = tmp_path / "AttentionLSTM.pdparams"
    path.write_bytes(pickle.dumps({name: np.zeros((2, 2), np.float32) for name in names}, protocol=2))
    with pytest.raises(
        AlstmError, match=r"static-graph.*peepholes.*cannot be converted.*AttentionLSTM_yt8\.pdparams"
    ) as told:
        load_arrays(path)
    assert "; pass published instead of its path" in str(told.value)  # whichever flag has named it


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_code_is_refused(tmp_path, protocol):
    trace = tmp_path / "it ran"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    path = tmp_path / "trap.pdparams"
    path.write_bytes(pickle.dumps({"fc_logit.weight": np.zeros(2, np.float32), "x": Trap()}, protocol=protocol))
    with pytest.raises(UnsafePickle, match=r"trap\.pdparams: it names (posix|nt|os)\.mkdir"):
        load_arrays(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content, problem",
    [(b"", "it is empty"), (b"PK\x03\x04 no pickle", "not a readable pickle"), (pickle.dumps([1]), "a list")],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content, problem):
    path = tmp_path / "odd.pdparams"
    path.write_bytes(content)
    with pytest.raises(AlstmError, match=rf"odd\.pdparams.*{problem}"):
        load_arrays(path)


def test_a_damaged_file_is_refused(saved):
    path, _ = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AlstmError, match="not a readable pickle"):
        load_arrays(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(AlstmError, match="the digests at its end"):
        load_arrays(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AlstmError, match=r"none\.pdparams: no such file; .*pdparams"):
        load_arrays(tmp_path / "none.pdparams")


def test_an_array_under_many_names_is_kept_once(tmp_path):
    """In the other byte order, each name would cost its bytes."""
    array = np.ones(1_000_000, ">f4")
    save_plain(tmp_path / "a.pdparams", {f"name {number}": array for number in range(300)})
    arrays = load_arrays(tmp_path / "a.pdparams")
    assert len(arrays) == 300 and len({id(each) for each in arrays.values()}) == 1


@pytest.mark.parametrize("dtype", ["int32", "uint16", "bool"])
def test_numbers_that_are_not_floating_point_are_refused(saved, tmp_path, dtype):
    path, _ = saved
    net = a_net(seed=1)
    arrays = {name: array.astype(dtype) for name, array in load_arrays(path).items()}
    with pytest.raises(AlstmError, match=f"it holds {dtype}, not floating-point numbers"):
        apply_weights(net, arrays, "a.pdparams")
