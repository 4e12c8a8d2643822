"""YouTube-8M's own front end: the networks and PCAs that Google published, made into one ONNX file per stream, once.

======== =================================================================== =========================================
stream   network                                                             then
======== =================================================================== =========================================
pictures Inception of 2015-12-05, a frozen graph of TensorFlow, 2048 numbers YouTube-8M's PCA with whitening: 1024
sound    VGGish, a checkpoint of TensorFlow 1, 128 numbers                   AudioSet's PCA with whitening: 128
======== =================================================================== =========================================

What is done here is what google/youtube-8m's ``feature_extractor`` and tensorflow/models' ``vggish`` do. Their authors
say that it only approximates the released features (google/mediapipe #408, tensorflow/models #8066).

The files stay in the cache. Nobody publishes their digests, so those of the first fetch are kept, and no other file is
accepted later.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alstm_helpers.data.published import NotFetched, cache_folder, fetch_weights, fetched_record, place_in_cache
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import atomic_write, checksum, locked, recorded, write_sealed
from alstm_helpers.own_videos.graphdef import to_onnx
from alstm_helpers.own_videos.tensorflow_files import AGAIN, Node, read_checkpoint, read_graph
from alstm_helpers.tfrecord import AUDIO_DIM, RGB_DIM, dequantize

NAME = "yt8m"  # of both backbones
INCEPTION = "http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz"
PCA = "http://data.yt8m.org/yt8m_pca.tgz"
VGGISH = "https://storage.googleapis.com/audioset/vggish_model.ckpt"
VGGISH_PCA = "https://storage.googleapis.com/audioset/vggish_pca_params.npz"
STREAMS = {"rgb": (INCEPTION, PCA), "audio": (VGGISH, VGGISH_PCA)}
GRAPH = "classify_image_graph_def.pb"  # in the first archive
RESIZED, POOLED = "ResizeBilinear", "pool_3/_reshape"  # its nodes: pictures of the right size, and 2048 numbers
MOST_PIXELS = 2048  # of the side of a picture
_LARGEST = 2**28  # bytes of a file in an archive; the graph has 96 MB
_FORMAT = 1  # of the conversion; another one makes the files anew
_LAYERS = ("conv1", "conv2", "conv3/conv3_1", "conv3/conv3_2", "conv4/conv4_1", "conv4/conv4_2")  # of VGGish
_POOLED = ("conv1", "conv2", "conv3/conv3_2", "conv4/conv4_2")  # those with a pool behind them
_DENSE = ("fc1/fc1_1", "fc1/fc1_2", "fc2")
_WINDOW = {"strides": [1, 1, 1, 1], "padding": b"SAME"}
_HALVES = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": b"SAME"}
PATCH = (96, 64, 1)  # times, bands and channels of what VGGish takes
_DAMAGED = (  # what reading an archive or an array can raise
    *(OSError, EOFError, ValueError, KeyError, IndexError, MemoryError),
    *(zlib.error, tarfile.TarError, zipfile.BadZipFile),
)


class Made(NamedTuple):
    """A network made of published files: its ONNX file, and a digest of what it is made of."""

    path: Path
    digest: str


def network(stream: str) -> Made:
    """Return the network of ``rgb`` or ``audio``; fetch its files first, and convert them, unless that is done.

    Pictures: float32 (N, S, S, 3) from 0 to 255, by TensorFlow 1's resize → (N, 1024). Sound: float32 (N, 96, 64, 1),
    VGGish's log-mel pictures → (N, 128).

    Raises:
        NotFetched: a file is neither in the cache nor to be had.
        AlstmError: a file is another one than at first, or not what it should be.
    """
    files = _fetched(STREAMS[stream])
    digest = hashlib.sha256("\n".join(fetched_record(path)["sha256"] for path in files).encode()).hexdigest()
    make = {"rgb": picture_network, "audio": sound_network}[stream]
    return Made(_kept(cache_folder() / NAME / f"{stream}-{digest[:12]}-{_FORMAT}.onnx", lambda: make(*files)), digest)


def provenance(streams: Sequence[str]) -> list[str]:
    """Return a line on each published file that these streams use: its address, size and SHA-256."""
    records = [fetched_record(place_in_cache(url)) for stream in streams for url in STREAMS[stream]]
    return [f"{each['url']}  {each['bytes'] / 1e6:.1f} MB  sha256 {each['sha256']}" for each in records]


def _fetched(addresses: Sequence[str]) -> list[Path]:
    """Return the files in the cache.

    Raises:
        NotFetched: some are neither there nor to be had; it names all of these.
    """
    files, missing = list[Path](), list[NotFetched]()
    for address in addresses:
        try:
            files.append(fetch_weights(address, pinned=True))
        except NotFetched as error:
            missing.append(error)
    if missing:
        where = " and ".join(error.where for error in missing)
        places = " and ".join(str(place_in_cache(url)) for url in addresses if not place_in_cache(url).is_file())
        remedy = f"run it once with network access, or with ALSTM_WEIGHTS_MIRROR, or save what is missing as {places}"
        raise NotFetched(where, f"not fetched ({missing[0].problem})", remedy)
    return files


def _kept(path: Path, make: Callable[[], bytes]) -> Path:
    """Return a file, which is made unless it is there as it was written."""
    record = path.with_suffix(".json")
    with locked(path, wait=600):
        known = (recorded(record) or {}).get("sha256")
        if not path.is_file() or checksum(path, "sha256") != known:
            content = make()
            with atomic_write(path) as file:
                file.write(content)
            write_sealed(record, {"sha256": hashlib.sha256(content).hexdigest()})
    return path


# --- pictures -----------------------------------------------------------------------------------------------------


def picture_network(inception: Path, pca: Path) -> bytes:
    """Return the Inception graph from its resized pictures on, followed by the PCA, as ONNX.

    Args:
        inception: the archive with the graph.
        pca: the archive with ``mean.npy``, ``eigenvals.npy`` and ``eigenvecs.npy``.
    """
    where = f"{inception}, {GRAPH}"
    nodes = read_graph(_member(inception, GRAPH), where)
    side = _side(nodes, where)
    mean, values, vectors = (_array(_member(pca, name), f"{pca}, {name}") for name in PCA_FILES)
    try:
        center, matrix = whitening(mean, values, vectors)
    except (IndexError, ValueError):
        raise AlstmError(pca, "its arrays are unlike those of YouTube-8M's PCA", AGAIN) from None
    nodes |= _projection(POOLED, center, matrix)
    return to_onnx(nodes, RESIZED, "projected", (side, side, 3), where)


PCA_FILES = ("mean.npy", "eigenvals.npy", "eigenvecs.npy")


def whitening(mean: np.ndarray, eigenvalues: np.ndarray, eigenvectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is subtracted, float32 (D,), and what is multiplied by, float32 (D, 1024).

    ``y = (x − mean) · V / √(λ + 1e-4)``, V the first 1024 eigenvectors (google/youtube-8m, ``feature_extractor.py``).

    Args:
        mean: (D, 1).
        eigenvalues: (≥ 1024, 1).
        eigenvectors: (≥ 1024, D), one per row.

    Raises:
        ValueError, IndexError: the shapes do not fit, or a variance is below 0.
    """
    center, values, vectors = mean[:, 0], eigenvalues[:RGB_DIM, 0], eigenvectors.T[:, :RGB_DIM]
    if vectors.shape != (len(center), RGB_DIM) or (values < 0).any():
        raise ValueError
    matrix = vectors.astype(np.float64) / np.sqrt(values.astype(np.float64) + 1e-4)
    return center.astype(np.float32), matrix.astype(np.float32)


def _side(nodes: Mapping[str, Node], where: str) -> int:
    """Return the side of the squares that a graph resizes its pictures to, as TensorFlow 1 does by default."""
    try:
        resize = nodes[RESIZED]
        height, width = nodes[resize.inputs[1]].attributes["value"].tolist()
        options = [resize.attributes.get(name) for name in ("align_corners", "half_pixel_centers")]
        if resize.op != "ResizeBilinear" or any(options) or not 0 < height == width <= MOST_PIXELS:
            raise ValueError
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        raise AlstmError(f"{where}, node {RESIZED}", "it is unlike that of the published graph", AGAIN) from None
    return int(height)


def picture_bytes(values: np.ndarray) -> np.ndarray:
    """Return features that have the bytes which Google's extractor writes: clipped to ±2, 255 steps, rounded."""
    return dequantize(np.rint(_steps(values)).astype(np.uint8))


# --- sound --------------------------------------------------------------------------------------------------------


def sound_network(checkpoint: Path, pca: Path) -> bytes:
    """Return VGGish up to its embedding (before any activation), followed by its PCA, as ONNX.

    Args:
        checkpoint: ``vggish_model.ckpt``.
        pca: ``vggish_pca_params.npz``.
    """
    arrays = read_checkpoint(checkpoint.read_bytes(), str(checkpoint))
    nodes = _vggish({name.removeprefix("vggish/"): array for name, array in arrays.items()}, str(checkpoint))
    vectors, means = _vggish_pca(pca)
    nodes |= _projection("embedding", means, vectors.T)
    return to_onnx(nodes, "pictures", "projected", PATCH, str(checkpoint))


def _vggish(arrays: Mapping[str, np.ndarray], where: str) -> dict[str, Node]:
    """Return VGGish as nodes from ``pictures`` to ``embedding`` (S. Hershey et al., arXiv:1609.09430)."""
    nodes, last = {"pictures": Node("pictures", "Placeholder")}, "pictures"

    def add(name: str, op: str, *inputs: str, **attributes: object) -> str:
        nodes[name] = Node(name, op, inputs, attributes)
        return name

    for layer in (*_LAYERS, *_DENSE):
        for part in ("weights", "biases"):
            if f"{layer}/{part}" not in arrays:
                raise AlstmError(where, f"it has no vggish/{layer}/{part}", AGAIN)
            add(f"{layer}/{part}", "Const", value=arrays[f"{layer}/{part}"])
        if layer == _DENSE[0]:
            last = add("flat", "Reshape", last, add("flat/shape", "Const", value=np.array([-1, 0])))
        op, window = ("Conv2D", _WINDOW) if layer in _LAYERS else ("MatMul", {})
        last = add(f"{layer}/{op}", op, last, f"{layer}/weights", **window)
        last = add(f"{layer}/BiasAdd", "BiasAdd", last, f"{layer}/biases")
        if layer != _DENSE[-1]:
            last = add(f"{layer}/Relu", "Relu", last)
        if layer in _POOLED:
            last = add(f"{layer}/pool", "MaxPool", last, **_HALVES)
    add("embedding", "Identity", last)
    return nodes


def _vggish_pca(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvectors, one per row, float32 (128, 128), and what is subtracted before, float32 (128,)."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            if any(each.file_size > _LARGEST for each in file.zip.infolist()):
                raise ValueError
            vectors, means = (file[name].astype(np.float32) for name in ("pca_eigen_vectors", "pca_means"))
        if vectors.shape != (AUDIO_DIM, AUDIO_DIM):
            raise ValueError
        return vectors, means.reshape(AUDIO_DIM)
    except (*_DAMAGED, TypeError):  # an array alone is no file of several
        raise AlstmError(path, "it does not hold VGGish's PCA", AGAIN) from None


def sound_bytes(values: np.ndarray) -> np.ndarray:
    """Return features that have the bytes which VGGish's postprocessor writes: clipped to ±2, 255 steps, cut off."""
    return dequantize(_steps(values).astype(np.uint8))


def no_sound(seconds: int) -> np.ndarray:
    """Return features that have the bytes which Google's extractor writes for any clip, all of them 0."""
    return dequantize(np.zeros((seconds, AUDIO_DIM), np.uint8))


# --- both ---------------------------------------------------------------------------------------------------------


def _steps(values: np.ndarray) -> np.ndarray:
    """Return numbers from -2 to 2 as steps of a byte, 0 to 255."""
    return np.asarray((np.clip(values, -2, 2) + 2) * (255 / 4))


def _projection(value: str, center: np.ndarray, matrix: np.ndarray) -> dict[str, Node]:
    """Return nodes up to ``projected``, ``(value − center) · matrix``."""
    nodes = (
        Node("projection/center", "Const", (), {"value": center}),
        Node("projection/matrix", "Const", (), {"value": matrix}),
        Node("projection/centred", "Sub", (value, "projection/center")),
        Node("projected", "MatMul", ("projection/centred", "projection/matrix")),
    )
    return {node.name: node for node in nodes}


def _member(archive: Path, name: str) -> bytes:
    """Return a file in a ``.tgz``, read in memory; nothing is unpacked to the disk.

    Raises:
        AlstmError: it is damaged, has no such file, or one that is too large.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.size > _LARGEST:
                    raise ValueError
                if member.isfile() and member.name.removeprefix("./") == name and (file := tar.extractfile(member)):
                    return file.read()
    except _DAMAGED:
        raise AlstmError(archive, "not readable as a .tgz archive", AGAIN) from None
    raise AlstmError(archive, f"it holds no {name}", AGAIN)


def _array(content: bytes, where: str) -> np.ndarray:
    """Return the array of a ``.npy`` file, without running code from it."""
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except _DAMAGED:
        raise AlstmError(where, "not readable as an array of NumPy", AGAIN) from None
