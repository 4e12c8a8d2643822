"""Make ``tests/own_videos/yt8m/``: what TensorFlow computes from small random inputs, for the tests to compare with.

Run ``python tools/yt8m_fixtures.py`` with a Python that has TensorFlow 2, which is not among this project's packages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow

tf = tensorflow.compat.v1
OUT = Path(__file__).parents[1] / "tests" / "own_videos" / "yt8m"
SIZES = ((7, 11), (23, 5), (9, 9), (1, 2))  # height and width of pictures
SIDE = 40  # of the input of the small Inception
SIDES = (6, 9)  # of the squares that they are squeezed into


def resized() -> dict[str, np.ndarray]:
    """Return pictures ``image_H_W``, uint8, and each in squares ``square_H_W_S``, float32."""
    random, found = np.random.default_rng(0), {}
    for height, width in SIZES:
        image = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        found[f"image_{height}_{width}"] = image
        for side in SIDES:
            square = tf.image.resize_bilinear(image[None], (side, side), align_corners=False)[0]
            found[f"square_{height}_{width}_{side}"] = np.asarray(square.numpy())
    return found


class Graph:
    """A GraphDef like that of 2015-12-05: its operations, its names, few channels, random weights.

    ``BatchNormWithGlobalNormalization`` is only in graphs whose producer is older than version 9, so that it is written
    node by node.
    """

    def __init__(self) -> None:
        self.definition = tf.GraphDef()
        self.definition.versions.producer = 8
        self._random = np.random.default_rng(1)

    def node(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; attributes are values of TensorFlow's AttrValue."""
        added = self.definition.node.add(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            added.attr[key].CopyFrom(value)
        return name

    def constant(self, name: str, value: object, dtype: Any = tf.float32, *, packed: bool = True) -> str:
        """Add a constant: its bytes, or the list of its numbers."""
        tensor = tf.make_tensor_proto(value, dtype)
        if packed and dtype == tf.float32:
            tensor.ClearField("float_val")
            tensor.tensor_content = np.asarray(value, np.float32).tobytes()
        return self.node(name, "Const", dtype=of_type(dtype), value=tf.AttrValue(tensor=tensor))

    def weights(self, name: str, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        """Add random numbers."""
        return self.constant(name, self._random.uniform(low, high, shape).astype(np.float32))

    def layer(self, name: str, value: str, shape: tuple[int, int, int, int], step: int = 1, pad: str = "SAME") -> str:
        """Add a convolution, its normalisation, and what cuts off below zero."""
        kernel = self.weights(f"{name}/conv2d_params", *shape)
        steps = {"strides": integers(1, step, step, 1), "padding": text(pad), "use_cudnn_on_gpu": truth(True)}
        self.node(f"{name}/Conv2D", "Conv2D", value, kernel, T=FLOAT, **steps)
        parts = {"moving_mean": (-1.0, 1.0), "moving_variance": (0.5, 20.0), "beta": (-1.0, 1.0), "gamma": (0.5, 2.0)}
        inputs = [
            self.weights(f"{name}/batchnorm/{key}", shape[-1], low=low, high=high) for key, (low, high) in parts.items()
        ]
        scaled = truth("mixed" in name)  # elsewhere gamma does not count
        normal = {"variance_epsilon": tf.AttrValue(f=0.001), "scale_after_normalization": scaled}
        self.node(f"{name}/batchnorm", "BatchNormWithGlobalNormalization", f"{name}/Conv2D", *inputs, T=FLOAT, **normal)
        said = text("no number")
        checked = self.node(f"{name}/CheckNumerics", "CheckNumerics", f"{name}/batchnorm", T=FLOAT, message=said)
        passed = self.node(f"{name}/control_dependency", "Identity", f"{name}/batchnorm", f"^{checked}", T=FLOAT)
        return self.node(name, "Relu", passed, T=FLOAT)

    def pool(self, name: str, op: str, value: str, size: int, step: int, pad: str) -> str:
        """Add a pool."""
        window = {"ksize": integers(1, size, size, 1), "strides": integers(1, step, step, 1), "padding": text(pad)}
        return self.node(name, op, value, T=FLOAT, **window)

    def join(self, name: str, *values: str) -> str:
        """Add what joins channels."""
        axis = self.constant(f"{name}/concat_dim", 3, tf.int32)
        return self.node(name, "Concat", axis, *values, T=FLOAT, N=tf.AttrValue(i=len(values)))


def text(value: str) -> Any:
    """Return an attribute."""
    return tf.AttrValue(s=value.encode())


def truth(value: bool) -> Any:
    """Return an attribute."""
    return tf.AttrValue(b=value)


def integers(*values: int) -> Any:
    """Return an attribute."""
    return tf.AttrValue(list=tf.AttrValue.ListValue(i=values))


def of_type(dtype: Any) -> Any:
    """Return an attribute."""
    return tf.AttrValue(type=dtype.as_datatype_enum)


FLOAT = of_type(tf.float32)


def inception() -> Any:
    """Return a GraphDef from ``DecodeJpeg`` to ``pool_3/_reshape``."""
    g = Graph()
    g.constant("DecodeJpeg/contents", b"", tf.string)
    g.node("DecodeJpeg", "DecodeJpeg", "DecodeJpeg/contents", channels=tf.AttrValue(i=3))
    g.node("Cast", "Cast", "DecodeJpeg", SrcT=of_type(tf.uint8), DstT=FLOAT)
    g.constant("ExpandDims/dim", 0, tf.int32)
    g.node("ExpandDims", "ExpandDims", "Cast", "ExpandDims/dim", T=FLOAT)
    g.constant("ResizeBilinear/size", [SIDE, SIDE], tf.int32)
    g.node("ResizeBilinear", "ResizeBilinear", "ExpandDims", "ResizeBilinear/size", T=FLOAT, align_corners=truth(False))
    g.node("Sub", "Sub", "ResizeBilinear", g.constant("Sub/y", 128.0, packed=False), T=FLOAT)
    g.node("Mul", "Mul", "Sub", g.constant("Mul/y", 1 / 128, packed=False), T=FLOAT)  # (40, 40, 3)
    g.layer("conv", "Mul", (3, 3, 3, 4), 2, "VALID")  # (19, 19, 4)
    g.layer("conv_1", "conv", (3, 3, 4, 4), 1, "VALID")  # (17, 17, 4)
    g.layer("conv_2", "conv_1", (3, 3, 4, 6))  # (17, 17, 6)
    g.pool("pool", "MaxPool", "conv_2", 3, 2, "VALID")  # (8, 8, 6)
    g.layer("mixed/conv", "pool", (1, 1, 6, 4))
    g.layer("mixed/tower/conv", "pool", (1, 1, 6, 3))
    g.layer("mixed/tower/conv_1", "mixed/tower/conv", (5, 5, 3, 4))
    g.pool("mixed/tower_2/pool", "AvgPool", "pool", 3, 1, "SAME")
    g.layer("mixed/tower_2/conv", "mixed/tower_2/pool", (1, 1, 6, 4))
    g.join("mixed/join", "mixed/conv", "mixed/tower/conv_1", "mixed/tower_2/conv")  # (8, 8, 12)
    g.layer("mixed_3/conv", "mixed/join", (3, 3, 12, 6), 2)  # (4, 4, 6): pads at the end alone
    g.pool("mixed_3/pool", "MaxPool", "mixed/join", 3, 2, "SAME")  # (4, 4, 12), likewise
    g.join("mixed_3/join", "mixed_3/conv", "mixed_3/pool")  # (4, 4, 18)
    g.layer("mixed_10/tower/mixed/conv", "mixed_3/join", (1, 3, 18, 5))
    g.layer("mixed_10/tower/mixed/conv_1", "mixed_3/join", (3, 1, 18, 5))
    g.join("mixed_10/tower/mixed", "mixed_10/tower/mixed/conv", "mixed_10/tower/mixed/conv_1")
    g.pool("mixed_10/tower_2/pool", "MaxPool", "mixed_3/join", 3, 1, "SAME")
    g.layer("mixed_10/tower_2/conv", "mixed_10/tower_2/pool", (1, 1, 18, 6))
    g.join("mixed_10/join", "mixed_10/tower/mixed", "mixed_10/tower_2/conv")  # (4, 4, 16)
    g.pool("pool_3", "AvgPool", "mixed_10/join", 4, 1, "VALID")  # (1, 1, 16)
    g.constant("pool_3/_reshape/shape", [-1, 16], tf.int32)
    g.node("pool_3/_reshape", "Reshape", "pool_3", "pool_3/_reshape/shape", T=FLOAT)
    return g.definition


def run(definition: Any, images: list[np.ndarray]) -> np.ndarray:
    """Return what TensorFlow computes from pictures of any size, float32 (N, D)."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(definition, name="")
        found = [session.run("pool_3/_reshape:0", {"DecodeJpeg:0": image}) for image in images]
    return np.concatenate(found)


def vggish() -> dict[str, np.ndarray]:
    """Write a checkpoint of a VGGish with few channels; return log-mel pictures and their embeddings."""
    random, channels = np.random.default_rng(3), iter((2, 2, 3, 3, 4, 4))
    pictures = random.integers(0, 256, (2, 96, 64)).astype(np.uint8)  # log-mel numbers × 32 + 128
    with tf.Graph().as_default(), tf.Session() as session, tf.variable_scope("vggish"):

        def variables(name: str, *shape: int) -> tuple[Any, Any]:
            scale = np.sqrt(2 / np.prod(shape[:-1]))
            sizes = {"weights": (shape, scale), "biases": (shape[-1:], 1.0)}
            with tf.variable_scope(name):
                first, second = (
                    tf.get_variable(part, initializer=random.normal(0, by, size).astype(np.float32))
                    for part, (size, by) in sizes.items()
                )
            return first, second

        value = tf.constant(pictures[..., None].astype(np.float32) / 32 - 4)
        for names in (("conv1",), ("conv2",), ("conv3/conv3_1", "conv3/conv3_2"), ("conv4/conv4_1", "conv4/conv4_2")):
            for name in names:
                weights, biases = variables(name, 3, 3, int(value.shape[-1]), next(channels))
                value = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(value, weights, 1, "SAME"), biases))
            value = tf.nn.max_pool(value, 2, 2, "SAME")
        value = tf.reshape(value, [-1, int(np.prod(value.shape[1:]))])
        for name, size in (("fc1/fc1_1", 6), ("fc1/fc1_2", 6), ("fc2", 128)):
            weights, biases = variables(name, int(value.shape[-1]), size)
            value = tf.nn.bias_add(tf.matmul(value, weights), biases)
            value = value if name == "fc2" else tf.nn.relu(value)
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(write_version=tf.train.SaverDef.V1)
        saver.save(session, str(OUT / "vggish_model.ckpt"), write_meta_graph=False, write_state=False)
        return {"pictures": pictures, "embeddings": session.run(value)}


def save(name: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays by name."""
    np.savez_compressed(OUT / name, allow_pickle=False, **arrays)


def main() -> None:
    """Write every file."""
    OUT.mkdir(parents=True, exist_ok=True)
    save("resize.npz", resized())
    definition, random = inception(), np.random.default_rng(2)
    (OUT / "classify_image_graph_def.pb").write_bytes(definition.SerializeToString(deterministic=True))
    images = [random.integers(0, 256, (*size, 3)).astype(np.uint8) for size in ((13, 45), (40, 19))]
    save("inception.npz", {"image_0": images[0], "image_1": images[1], "features": run(definition, images)})
    save("vggish.npz", vggish())


if __name__ == "__main__":
    main()
