"""The network in NumPy, float64, one video at a time: a second opinion on the trainer and on its exports.

And small networks and batches to compare with it.
"""

import numpy as np

from alstm_helpers.model import POOLINGS
from alstm_helpers.model.weights import state_of
from alstm_helpers.runtime import paddle


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_states(inputs, w_ih, w_hh, b_ih, b_hh):
    """Compute the states (T, H) of one direction; the gates come in the order input, forget, cell, output."""
    hidden = cell = np.zeros(w_hh.shape[1])
    states = []
    for x in inputs:
        i, f, c, o = np.split(w_ih @ x + b_ih + w_hh @ hidden + b_hh, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        hidden = sigmoid(o) * np.tanh(cell)
        states.append(hidden)
    return np.stack(states)


def numpy_network(net, rgb, audio, lengths):
    """Compute logits and attention weights of each video, from its own seconds alone."""
    p = {name: array.astype(np.float64) for name, array in state_of(net).items()}
    logits: list[np.ndarray] = []
    weights: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for row, length in enumerate(lengths):
        pooled = []
        for stream, frames in enumerate((rgb, audio)):
            x = frames[row, :length] * (4 / 255) + (4 / 512 - 2)
            x = np.tanh(x @ p[f"fc_feature{stream}.weight"] + p[f"fc_feature{stream}.bias"])
            forward, backward = (
                [p[f"bi_lstm{stream}.{part}_l0{way}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
                for way in ("", "_reverse")
            )
            ahead, behind = lstm_states(x, *forward), lstm_states(x[::-1], *backward)[::-1]
            states = np.concatenate([ahead, behind], axis=1)  # (T, 2H)
            if "attention" in net.pooling:
                scores = (states @ p[f"att_fc{stream}.weight"] + p[f"att_fc{stream}.bias"])[:, 0]
                share = np.exp(scores - scores.max())
                share /= share.sum()
            else:
                share = np.full(length, 1 / length)
            last = np.concatenate([ahead[-1], behind[0]])
            pooled.append(last if net.pooling == "last" else share @ states)
            if "deviation" in net.pooling:
                pooled.append(np.abs(x - x.mean(axis=0)).mean(axis=0))  # (E,)
            weights[stream].append(np.eye(length)[-1] if net.pooling == "last" else share)
        logits.append(numpy_top(p, np.concatenate(pooled)))
    return np.stack(logits), weights


def numpy_top(p, pooled):
    """Compute the logits (C,) of both pooled streams, side by side."""
    hidden = np.maximum(pooled @ p["fc_out1.weight"] + p["fc_out1.bias"], 0)
    hidden = np.tanh(hidden @ p["fc_out2.weight"] + p["fc_out2.bias"])
    return hidden @ p["fc_logit.weight"] + p["fc_logit.bias"]


# --- small ones -----------------------------------------------------------------------------------------------------

DIMS, EMBEDDING, LSTM, FC, CLASSES = (12, 8), 5, 4, (7, 6), 9


def small_net(pooling="attention", *, seed=0, drop_rate=0.5, scale=15.0):
    """A small network whose weights are large enough for attention to be far from even."""
    paddle.seed(seed)
    net = POOLINGS[pooling](
        num_classes=CLASSES,
        feature_dims=DIMS,
        embedding_size=EMBEDDING,
        lstm_size=LSTM,
        drop_rate=drop_rate,
        fc_sizes=FC,
    )
    rng = np.random.default_rng(seed)
    for name, parameter in net.named_parameters():
        parameter.set_value(random_weights(rng, name, parameter.shape, scale))
    net.eval()
    return net


def random_weights(rng, name, shape, scale):
    """Draw float32 weights that keep the size of their input; those of the attention are larger by ``scale``."""
    fan_in = shape[0] if name.startswith(("fc", "att")) else shape[-1]
    deviation = (scale if name.startswith("att") else 1) / np.sqrt(fan_in)
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(deviation)


def small_batch(lengths, num_steps=None, *, seed=0, dims=DIMS):
    """Draw uint8 rgb and audio of random videos, with noise in the padding, too; int64 lengths."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), num_steps or max(lengths))
    rgb, audio = (rng.integers(0, 256, (*shape, dim), dtype=np.uint8) for dim in dims)
    return rgb, audio, np.array(lengths, dtype=np.int64)
