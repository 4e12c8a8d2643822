"""Test suggestions from the names of classes: small networks and a small tokenizer stand for CLIP's, on a local server.

CLIP's own files are not run here.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from alstm_helpers.commands import alstm
from alstm_helpers.errors import AlstmError
from alstm_helpers.extras import NotInstalled
from alstm_helpers.own_videos import backbones, suggest, zero_shot
from alstm_helpers.own_videos.backbones import picture_backbone
from alstm_helpers.own_videos.extractor import Extractor
from alstm_helpers.own_videos.features import FeatureOptions, extract_features
from alstm_helpers.own_videos.flashdigits_clips import Encoding, write_video
from alstm_helpers.own_videos.labels import import_labels
from alstm_helpers.own_videos.media import Clip, read_frames
from alstm_helpers.own_videos.pictures import Fit
from alstm_helpers.own_videos.presets import CLIP
from alstm_helpers.own_videos.suggest import SuggestOptions, suggest_labels
from alstm_helpers.own_videos.zero_shot import class_scores, embed_prompts, read_prompts

WORDS = ["<start>", "<end>", "<unk>", "a", "photo", "of", "video", "frame", ".", "cat", "dog", "red", "bird"]
TABLE = np.random.default_rng(4).standard_normal((len(WORDS), 3)).astype(np.float32)
START, END, UNKNOWN = range(3)


def a_tokenizer():
    """Return the text of a tokenizer of whole words."""
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", START), ("<end>", END)]
    made.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    made.enable_padding(length=9)  # which would change the mean
    return made.to_str().encode()


def a_text_network(path, *, masked=False):
    """Write a network that gives the mean over the tokens' rows of a table."""
    names = ["input_ids", *["attention_mask"] * masked]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "K"]) for name in names]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["text_embeds"], axes=[1], keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("rows", "text_embeds")]
    graph = helper.make_graph(nodes, "text", inputs, outputs, [numpy_helper.from_array(TABLE, "table")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path.read_bytes()


@pytest.fixture
def hub(server, onnx_file, tmp_path, monkeypatch):
    """Serve three small files in the place of CLIP's."""
    onnx_file(tmp_path / "net.onnx", ["N", 3, 224, 224], [2, 3])
    server.files = {
        "vision_model_quantized.onnx": (tmp_path / "net.onnx").read_bytes(),
        "text_model_quantized.onnx": a_text_network(tmp_path / "text.onnx"),
        "tokenizer.json": a_tokenizer(),
    }
    vision, text, tokenizer = (hashlib.sha256(content).hexdigest() for content in server.files.values())
    network = backbones._HUB_NETWORKS["clip"]
    takes = network.takes.model_copy(update={"output": "y"})
    monkeypatch.setitem(backbones._HUB_NETWORKS, "clip", network._replace(sha256=vision, takes=takes))
    monkeypatch.setattr(zero_shot, "_TEXT", (zero_shot._TEXT[0], text))
    monkeypatch.setattr(zero_shot, "_TOKENIZER", (zero_shot._TOKENIZER[0], tokenizer))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache"))
    yield server
    picture_backbone.cache_clear()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Return three clips of two seconds, each of one colour and a little noise; read only."""
    folder, rng = tmp_path_factory.mktemp("videos"), np.random.default_rng(1)
    colours = rng.integers(20, 236, (3, 2, 1, 1, 3)) + rng.integers(-20, 20, (3, 2, 32, 32, 1))
    for number, frames in enumerate(colours):
        write_video(folder / f"c{number}.mp4", frames.astype(np.uint8), None, Encoding(fps=1))
    return sorted(folder.iterdir())


def rows_of(folder):
    return list(csv.DictReader((folder / "suggestions.csv").read_text("utf-8").splitlines()))


def unit(values):
    return values / np.sqrt((np.asarray(values, float) ** 2).sum())


def right_words(prompt):
    """Compute the embedding of a class from the table, by the formula."""
    sentences = [f"a photo of a {prompt} .", f"a photo of {prompt} .", f"a video frame of {prompt} ."]
    tokens = [[START, *map(WORDS.index, sentence.split()), END] for sentence in sentences]
    return unit(np.mean([unit(TABLE[each].mean(0)) for each in tokens], 0))


def right_scores(path, prompts):
    """Compute the scores of a clip from its pictures and the table, by the formula."""
    mean, std = np.array(CLIP["mean"]), np.array(CLIP["std"])
    frames = read_frames(Clip(path), Fit(224, 224, filter="bicubic"))
    clip = unit(np.mean([unit(((frame / 255 - mean) / std).mean((0, 1))) for frame in frames], 0))
    weights = [np.exp(100 * float(clip @ right_words(prompt)) - 100) for prompt in prompts]
    return np.array(weights) / sum(weights)


def test_words_are_embedded_by_the_formula(hub):
    found = embed_prompts(read_prompts("cat,dog,red bird"))
    assert found == pytest.approx(np.stack([right_words(prompt) for prompt in ("cat", "dog", "red bird")]), abs=1e-6)


def test_scores_are_those_of_the_formula(hub, videos, tmp_path):
    done = suggest_labels(videos, tmp_path / "out", SuggestOptions("Cat,dog,red bird"), workers=0)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 3 and not done.failed and list(rows[0]) == ["video", "label", "score", "margin", "runner_up"]
    for row in rows:
        scores = right_scores(videos[0].with_name(row["video"]), ["cat", "dog", "red bird"])
        first, second, _ = np.argsort(-scores)
        assert [row["label"], row["runner_up"]] == [["Cat", "dog", "red bird"][at] for at in (first, second)]
        assert float(row["score"]) == pytest.approx(scores[first], abs=2e-4)
        assert float(row["margin"]) == pytest.approx(scores[first] - scores[second], abs=2e-4)
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins) and len(set(margins)) == 3
    assert sum(done.counts.values()) == 3 and not (tmp_path / "out" / "annotations.csv").exists()
    assert sorted(hub.gets) == sorted(hub.files)


def test_scores_by_hand():
    """A cosine of 1 against one of 0.99 is a factor of e; the largest numbers do not overflow."""
    scores = class_scores(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.99, np.sqrt(1 - 0.99**2)]]))
    assert scores.sum(1) == pytest.approx([1, 1]) and scores[0, 0] / scores[0, 1] == pytest.approx(np.e)


def test_a_network_that_asks_for_a_mask_gets_one(hub, tmp_path, monkeypatch):
    classes = read_prompts("cat,dog")
    right = embed_prompts(classes)
    hub.files["text_model_quantized.onnx"] = content = a_text_network(tmp_path / "masked.onnx", masked=True)
    monkeypatch.setattr(zero_shot, "_TEXT", (zero_shot._TEXT[0], hashlib.sha256(content).hexdigest()))
    shutil.rmtree(tmp_path / "cache")
    assert np.array_equal(embed_prompts(classes), right) and right.shape == (2, 3)


def test_a_prompt_may_have_as_many_tokens_as_the_network_takes(hub, tmp_path):
    path = tmp_path / "names.csv"
    for words, fits in ((70, True), (71, False)):  # and <start>, four words of the template, the stop and <end>
        path.write_text(f"name,prompt\ncat,\nlong,{'dog ' * words}\n", encoding="utf-8")
        if fits:
            embed_prompts(read_prompts(str(path)))
            continue
        with pytest.raises(AlstmError, match="has 78 tokens, more than CLIP's 77; give a shorter prompt"):
            embed_prompts(read_prompts(str(path)))


def test_what_was_looked_over_is_imported_as_it_is(hub, videos, tmp_path):
    """Neither the scores nor the other classes become labels."""
    predictions = [{"video": "c1", "labels": [{"index": 0, "name": "bird", "score": 0.75}]}]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in predictions), "utf-8")
    odd = tmp_path / "=1+1.mp4"
    shutil.copy(videos[0], odd)
    options = SuggestOptions("cat,dog", beside=tmp_path)
    suggest_labels([*videos[:2], odd], tmp_path / "out", options, workers=0)
    rows = rows_of(tmp_path / "out")
    assert [rows[0][name] for name in ("video", "trained", "trained_score")] == ["c1.mp4", "bird", "0.7500"]
    assert {row["video"] for row in rows} == {"c0.mp4", "c1.mp4", "./=1+1.mp4"}, "no formula for a spreadsheet"
    path = tmp_path / "out" / "suggestions.csv"
    text = path.read_text("utf-8").replace(f"c1.mp4,{rows[0]['label']},", "c1.mp4,bird,")
    path.write_text(text, "utf-8")
    done = import_labels([path], tmp_path / "labels")
    said = {each.video: each.labels for each in done.annotations}
    right = {row["video"].removeprefix("./"): (row["label"],) for row in rows} | {"c1.mp4": ("bird",)}
    assert said == right and not done.notes
    with pytest.raises(AlstmError, match="other suggestions, which somebody may have corrected; import it, then move"):
        suggest_labels([*videos[:2], odd], tmp_path / "out", options, workers=0)
    assert path.read_text("utf-8") == text


def test_a_bad_clip_does_not_keep_the_others_from_a_label(hub, videos, tmp_path):
    """Each is read in a process of its own."""
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "a\u2028b.mp4").write_bytes(b"")
    given = [videos[0], tmp_path / "broken.mp4", tmp_path / "a\u2028b.mp4"]
    done = suggest_labels(given, tmp_path / "out", SuggestOptions("cat,dog"), workers=1)
    assert [row["video"] for row in rows_of(tmp_path / "out")] == ["c0.mp4"]
    name, broken = map(str, done.failed)
    assert "broken.mp4: " in broken and "its name cannot stand in a table of labels; rename the file" in name
    with pytest.raises(AlstmError, match=r"no clip can be used, the first: .*broken\.mp4.*; fix that, and run again"):
        suggest_labels(given[1:2], tmp_path / "none", SuggestOptions("cat,dog"), workers=0)
    assert not (tmp_path / "none" / "suggestions.csv").exists()


def test_features_by_clip_are_not_read_again(hub, videos, tmp_path, monkeypatch):
    """The command says which to look at first; a rerun leaves the same bytes."""
    suggest_labels(videos, tmp_path / "out", SuggestOptions("cat,dog"), workers=0)
    extract_features(videos, tmp_path / "made", FeatureOptions(backbone="clip"), workers=0)
    right = (tmp_path / "out" / "suggestions.csv").read_bytes()
    monkeypatch.setattr(suggest, "read_frames", None)
    line = ["labels", "suggest", *map(str, videos), "--classes", "cat,dog", "--features", str(tmp_path / "made")]
    for out in ("again", "out"):
        done = CliRunner().invoke(alstm, [*line, "--out", str(tmp_path / out)], catch_exceptions=False)
        assert done.exit_code == 0 and (tmp_path / out / "suggestions.csv").read_bytes() == right
    first = rows_of(tmp_path / "out")[0]
    said = done.output.splitlines()
    assert f"look at {first['video']}: {first['label']} {float(first['score']):.2f}, " in said[1]
    assert len(said) == 5 and "guesses from names alone; look them over before you import them" in said[-1]


def test_clips_of_one_name_in_two_folders(hub, videos, tmp_path):
    """Each has the label, and the features, of its own; the table tells them apart as the import does."""
    for folder, video in zip(("a", "b"), videos, strict=False):
        (tmp_path / folder).mkdir()
        shutil.copy(video, tmp_path / folder / "01.mp4")
    both = [tmp_path / "a" / "01.mp4", tmp_path / "b" / "01.mp4"]
    extract_features(both[1:], tmp_path / "made", FeatureOptions(backbone="clip"), workers=0)
    extract_features(both, tmp_path / "made", FeatureOptions(backbone="clip"), workers=0)
    options = SuggestOptions("cat,dog", features=tmp_path / "made")
    done = suggest_labels(both, tmp_path / "out", options, workers=0)
    right = suggest_labels(videos[:2], tmp_path / "right", SuggestOptions("cat,dog"), workers=0)
    names = {"c0.mp4": "a/01.mp4", "c1.mp4": "b/01.mp4"}
    assert [each.video for each in done.suggestions] == [names[each.video] for each in right.suggestions]
    assert [each.score for each in done.suggestions] == [each.score for each in right.suggestions]
    imported = import_labels([tmp_path / "out" / "suggestions.csv"], tmp_path / "labels").annotations
    assert [each.video for each in imported] == ["a/01.mp4", "b/01.mp4"]


def test_features_of_another_network_are_refused(hub, videos, tmp_path):
    right = hashlib.sha256(hub.files["vision_model_quantized.onnx"]).hexdigest()
    for name, sha256 in (("resnet50", right), ("clip", "0" * 64)):
        Extractor(name, "logmel", sha256={"rgb": sha256}).save(tmp_path)
        with pytest.raises(AlstmError, match="not by the network that the names are compared with; leave out"):
            suggest_labels(videos, tmp_path / "out", SuggestOptions("cat,dog", features=tmp_path), workers=0)


@pytest.mark.parametrize(
    "text, said",
    [
        ('{"video": "c9", "labels": [{"name": "cat", "score": 1}]}', "it has none of these clips"),
        ('{"video": "c0", "labels": [{"name": null, "score": 1}]}', "it names no classes; predict these clips"),
        ("[]", "line 1: it is not a prediction; write it with `alstm predict"),
        ("", "line 1: it is not a prediction"),
        (None, "no such file; write it with `alstm predict VIDEOS`"),
    ],
)
def test_predictions_that_cannot_stand_beside(videos, tmp_path, text, said):
    if text is not None:
        (tmp_path / "predictions.jsonl").write_text(text + "\n", "utf-8")
    options = SuggestOptions("cat,dog", beside=tmp_path / "predictions.jsonl")
    with pytest.raises(AlstmError, match=said):
        suggest_labels(videos, tmp_path / "out", options, workers=0)


def test_where_a_trained_model_differs_comes_first(hub, videos, tmp_path):
    """Also before clips that are less certain."""
    suggest_labels(videos, tmp_path / "out", SuggestOptions("cat,dog"), workers=0)
    *others, last = rows_of(tmp_path / "out")
    label = {"name": last["runner_up"], "score": 0.5}
    row = {"video": last["video"].removesuffix(".mp4"), "labels": [label]}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    done = suggest_labels(videos, tmp_path / "beside", SuggestOptions("cat,dog", beside=tmp_path), workers=0)
    assert [each.video for each in done.suggestions] == [last["video"], *(each["video"] for each in others)]
    assert f"; the trained model says {last['runner_up']} 0.50" in str(done.suggestions[0])


def test_names_in_other_languages(hub, videos, tmp_path):
    """CLIP knows English only; the second column says it in English, and the first is what is written."""
    path = tmp_path / "names.csv"
    path.write_text("name,prompt\n猫,cat\nперо,dog\nété,red bird\n", "utf-8")
    done = suggest_labels(videos[:1], tmp_path / "out", SuggestOptions(str(path)), workers=0)
    right = suggest_labels(videos[:1], tmp_path / "english", SuggestOptions("cat,dog,red bird"), workers=0)
    assert not done.notes and done.suggestions[0].score == right.suggestions[0].score
    assert done.suggestions[0].label == {"cat": "猫", "dog": "перо", "red bird": "été"}[right.suggestions[0].label]
    path.write_text("name\n猫\nперо\nété 2\n", "utf-8")
    (note,) = suggest_labels(videos[:1], tmp_path / "other", SuggestOptions(str(path)), workers=0).notes
    assert note.startswith("CLIP knows English only, and 猫, перо has other letters (2 such): give the English")


@pytest.mark.parametrize(
    "text, said",
    [
        ("index\n0\n", "it has no column name; begin it with name, or with name,prompt"),
        ("", "it has no column name"),
        ("name\ncat\n", "it names fewer than two classes"),
        ("name\ncat\nCat\n", "row 3: the class Cat is there twice"),
        ("name\ncat\ndog;bird\n", "row 3: 'dog;bird' is not a class name; ; separates"),
        ("name,prompt\n,cat\ndog\n", "row 2: '' is not a class name"),
    ],
)
def test_tables_that_name_no_classes(tmp_path, text, said):
    (tmp_path / "names.csv").write_text(text, "utf-8")
    with pytest.raises(AlstmError, match=said):
        read_prompts(str(tmp_path / "names.csv"))


def test_classes_as_an_import_writes_them(tmp_path):
    """Or a list, which needs no file."""
    (tmp_path / "a.csv").write_text("video,labels\na.mp4,cat\nb.mp4,red bird\n", "utf-8")
    import_labels([tmp_path / "a.csv"], tmp_path)
    right = [("cat", "cat"), ("red bird", "red bird")]
    assert read_prompts(str(tmp_path / "labels.csv")) == right == read_prompts(" cat , red  bird,")
    with pytest.raises(AlstmError, match="cat: no such file; name a CSV, or the classes themselves, as cat,dog"):
        read_prompts("cat")


def test_without_the_tokenizer(videos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(NotInstalled, match=r'tokenizers: not installed; pip install "attention-lstm-course\[clip\]"'):
        suggest_labels(videos, tmp_path / "out", SuggestOptions("cat,dog"))


def test_without_a_network(videos, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("ALSTM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(AlstmError, match=r"no answer .*; run it once with network .* or set HF_ENDPOINT to a mirror"):
        suggest_labels(videos, tmp_path / "out", SuggestOptions("cat,dog"), workers=0)
    assert not (tmp_path / "out" / "suggestions.csv").exists()
