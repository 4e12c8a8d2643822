"""Convert a shard as the original converter does, on TensorFlow 2: the baseline of ``alstm bench --tensorflow PYTHON``.

``alstm_helpers/machine/on_request.py`` runs it in a Python that has TensorFlow. Like tf2pkl.py, it builds a graph that
reads, parses and decodes one video, runs a session once per video, converts the bytes to float32 and back, turns a
dense vector of classes into label numbers, keeps everything in a list, and pickles it with protocol 2.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow

Tensor: TypeAlias = Any  # a TensorFlow tensor; TensorFlow is not among this project's packages
tf = tensorflow.compat.v1
STREAMS = {"rgb": 1024, "audio": 128}
NUM_CLASSES, MAX_FRAMES = 3862, 300


def one_video(shard: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return tensors of the next video: id, rgb (T, 1024), audio (T, 128), multi-hot labels, number of frames."""
    queue = tf.train.string_input_producer([shard], num_epochs=1, shuffle=False)
    _, record = tf.TFRecordReader().read(queue)
    context, frames = tf.parse_single_sequence_example(
        record,
        context_features={"id": tf.FixedLenFeature([], tf.string), "labels": tf.VarLenFeature(tf.int64)},
        sequence_features={name: tf.FixedLenSequenceFeature([], tf.string) for name in STREAMS},
    )
    dense = tf.sparse_to_dense(context["labels"].values, (NUM_CLASSES,), 1, validate_indices=False)
    rgb, audio = (
        tf.reshape(tf.cast(tf.decode_raw(frames[name], tf.uint8), tf.float32), [-1, dim])
        for name, dim in STREAMS.items()
    )
    return context["id"], rgb, audio, tf.cast(dense, tf.bool), tf.minimum(tf.shape(rgb)[0], MAX_FRAMES)


def convert(shard: str, target: str) -> None:
    """Write the pickle."""
    rows = []
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = one_video(shard)
        session.run([tf.local_variables_initializer(), tf.global_variables_initializer()])
        coordinator = tf.train.Coordinator()
        threads = tf.train.start_queue_runners(session, coordinator)
        try:
            while True:
                video, rgb, audio, labels, frames = session.run(tensors)
                row = {"video": video, "feature": rgb.astype(np.uint8), "audio": audio.astype(np.uint8)}
                rows.append({**row, "label": np.flatnonzero(labels).tolist(), "nframes": frames})
        except tf.errors.OutOfRangeError:
            pass
        coordinator.request_stop()
        coordinator.join(threads)
    with Path(target).open("wb") as file:
        pickle.dump(rows, file, protocol=2)


def make_works(shard: str, target: str) -> tuple[str, dict[str, Callable[[], None]]]:
    """Return TensorFlow's version and the conversion of a shard."""
    tf.Session().close()  # TensorFlow's own start is not part of the measurement
    return f"TensorFlow {tensorflow.__version__}", {"convert": partial(convert, shard, target)}
