"""Which class pictures show, from the names of the classes alone: CLIP's text network beside that for pictures.

A class is described by a few sentences, whose embeddings are averaged; a picture is as near to it as the cosine of the
two, and the scores are a softmax over the classes of 100 times that (A. Radford et al., arXiv:2103.00020, sections
2.3 and 3.1.4). CLIP ViT-B/32 was trained on English. Its two networks and its tokenizer come from one commit.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alstm_helpers.data.class_names import class_name
from alstm_helpers.errors import AlstmError
from alstm_helpers.files import read_text
from alstm_helpers.onnx_file import read_onnx
from alstm_helpers.own_videos.backbones import hub_file
from alstm_helpers.own_videos.label_formats.annotation import SEPARATOR
from alstm_helpers.own_videos.onnx_network import open_session

TEMPLATES = ("a photo of a {}.", "a photo of {}.", "a video frame of {}.")
SCALE = 100  # of the cosines, at which CLIP's training ended
CONTEXT = 77  # tokens that the text network takes
_TEXT = ("onnx/text_model_quantized.onnx", "73baab855d406190da9faa498cfedf65f15cf309f4cc7385b7b032e6d08e5c3a")
_TOKENIZER = ("tokenizer.json", "f7f3b7af117d467b58374797691a6438d3e6b9e9cef800dfd5dced7f697a90cd")
_WAY_OUT = "run it once with network access (the files stay in the cache), or set HF_ENDPOINT to a mirror"
_COLUMNS = "begin it with name, or with name,prompt for the English of names in other languages"


class ClassPrompt(NamedTuple):
    """The name of a class, and what the sentences about it say."""

    name: str
    prompt: str


def read_prompts(given: str) -> list[ClassPrompt]:
    """Return the classes that a user names.

    Args:
        given: a CSV with the column ``name``, such as ``labels.csv``, and perhaps ``prompt``; or ``cat,dog,bird``.

    Raises:
        AlstmError: the file is missing or cannot be used, a name cannot be that of a class or is there twice, or there
            are fewer than two.
    """
    if "," in given and not given.lower().endswith(".csv"):
        rows = [("--classes", name, "") for name in given.split(",") if name.strip()]
    else:
        rows = _rows(Path(given))
    found: dict[str, ClassPrompt] = {}
    for where, text, prompt in rows:
        name = class_name(where, text)
        if SEPARATOR in name:
            raise AlstmError(where, f"{name!r} is not a class name", f"{SEPARATOR} separates classes: write another")
        if name.casefold() in found:
            raise AlstmError(where, f"the class {name} is there twice", "name each once; upper and lower case are one")
        found[name.casefold()] = ClassPrompt(name, " ".join(prompt.split()) or name)
    if len(found) < 2:
        raise AlstmError(given, "it names fewer than two classes", "name all that a clip may show")
    return list(found.values())


def _rows(path: Path) -> list[tuple[str, str, str]]:
    """Return where each row of a table is, its name and its prompt."""
    if not path.is_file():
        raise AlstmError(path, "no such file", "name a CSV, or the classes themselves, as cat,dog")
    try:
        header, *rows = list(csv.reader(io.StringIO(read_text(path), newline=""))) or [[]]
    except csv.Error as error:
        raise AlstmError(path, f"not readable as a table ({error})", _COLUMNS) from None
    columns = [name.strip().lower() for name in header]
    if "name" not in columns:
        raise AlstmError(path, "it has no column name", _COLUMNS)
    table = [(f"{path}, row {n}", dict(zip(columns, row, strict=False))) for n, row in enumerate(rows, 2) if any(row)]
    return [(where, cells.get("name", ""), cells.get("prompt", "")) for where, cells in table]


def foreign_note(classes: Sequence[ClassPrompt]) -> list[str]:
    """Return a note on prompts with letters that are not Latin, which say nothing to CLIP."""
    foreign = [each.prompt for each in classes if not all(map(_is_known, each.prompt))]
    if not foreign:
        return []
    remedy = "give the English in a second column of a CSV, name,prompt"
    return [f"CLIP knows English only, and {', '.join(foreign[:3])} has other letters ({len(foreign)} such): {remedy}"]


def _is_known(character: str) -> bool:
    return not character.isalpha() or "LATIN" in unicodedata.name(character, "")


def embed_prompts(classes: Sequence[ClassPrompt]) -> np.ndarray:
    """Return what CLIP makes of classes, float32 (C, D), of length 1: the mean over the sentences about each.

    Raises:
        AlstmError: a file cannot be fetched, or a prompt is too long.
    """
    from tokenizers import Tokenizer

    path = hub_file("clip", *_TEXT, _WAY_OUT)
    tokenizer = Tokenizer.from_file(str(hub_file("clip", *_TOKENIZER, _WAY_OUT)))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    session = open_session(path, read_onnx(path))
    inputs = [each.name for each in session.get_inputs()]

    def embedded(sentence: str) -> np.ndarray:
        tokens = np.array([tokenizer.encode(sentence).ids], np.int64)  # (1, K)
        if tokens.size > CONTEXT:
            problem = f"{sentence!r} has {tokens.size} tokens, more than CLIP's {CONTEXT}"
            raise AlstmError("--classes", problem, "give a shorter prompt")
        values = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        (row,) = np.asarray(session.run(["text_embeds"], {name: values[name] for name in inputs})[0])
        return unit(row)

    # One at a time: nothing is padded, and the scale of a quantised network does not depend on the neighbours.
    return np.stack([unit(np.mean([embedded(form.format(each.prompt)) for form in TEMPLATES], 0)) for each in classes])


def unit(values: np.ndarray) -> np.ndarray:
    """Return rows, (…, D), scaled to length 1; one of zeros stays."""
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12))


def clip_embedding(seconds: np.ndarray) -> np.ndarray:
    """Return what CLIP makes of a clip, (D,), of length 1: the mean over its seconds, (T, D), each of length 1."""
    return unit(unit(seconds).mean(axis=0))


def class_scores(clips: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return scores, float64 (N, C), whose rows add up to 1, from embeddings (N, D) and (C, D) of length 1."""
    logits = SCALE * (clips.astype(np.float64) @ classes.T.astype(np.float64))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
