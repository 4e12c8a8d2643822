"""The configuration: the original file loads, later settings win, every mistake is one line that names its place."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import pytest
import yaml

from alstm_helpers.config import Config, TrainSection, key_table, load_config, parse_override, save_config
from alstm_helpers.errors import AlstmError, ConfigError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# PaddlePaddle/models, PaddleCV/video/configs/attention_lstm.yaml, every key.
ORIGINAL = """\
MODEL:
    name: "AttentionLSTM"
    dataset: "YouTube-8M"
    bone_nework: None
    drop_rate: 0.5
    feature_num: 2
    feature_names: ['rgb', 'audio']
    feature_dims: [1024, 128]
    embedding_size: 512
    lstm_size: 1024
    num_classes: 3862
    topk: 20
TRAIN:
    epoch: 10
    learning_rate: 0.001
    decay_epochs: [5]
    decay_gamma: 0.1
    weight_decay: 0.0008
    num_samples: 5000000
    pretrain_base: None
    batch_size: 1024
    use_gpu: True
    num_gpus: 8
    filelist: "data/dataset/youtube8m/train.list"

VALID:
    batch_size: 1024
    filelist: "data/dataset/youtube8m/val.list"

TEST:
    batch_size: 128
    filelist: "data/dataset/youtube8m/test.list"

INFER:
    batch_size: 1
    filelist: "data/dataset/youtube8m/infer.list"
"""


@pytest.fixture
def load(tmp_path):
    """Write a text to ``my.yaml`` and load it."""

    def write_and_load(text, overrides=None):
        path = tmp_path / "my.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides)

    return write_and_load


@pytest.fixture
def refusal(load, tmp_path):
    """The message that a text gives, without the folder."""

    def message(text, overrides=None):
        with pytest.raises(ConfigError) as caught:
            load(text, overrides)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(tmp_path) + os.sep, "")

    return message


# --- files ------------------------------------------------------------------------------------------------------


def test_the_original_file_loads_unchanged(load, tmp_path):
    config = load(ORIGINAL)
    for section, keys in yaml.safe_load(ORIGINAL).items():
        for key, value in keys.items():
            found = getattr(getattr(config, section), key)
            if key == "filelist":
                assert found == str(tmp_path / value)
            elif value == "None":
                assert found is None
            else:
                assert found == (tuple(value) if isinstance(value, list) else value), key


def test_defaults_for_the_keys_that_the_original_lacks_do_what_it_did(load):
    config = load(ORIGINAL)
    assert (config.MODEL.fc_sizes, config.MODEL.pooling) == ((8192, 4096), "attention")
    train = config.TRAIN
    assert (train.schedule, train.warmup_iters, train.clip_norm) == ("step", 0, None)


def test_the_course_recipe_is_the_original_with_the_2018_size():
    ours = yaml.safe_load((CONFIGS / "attention_lstm.yaml").read_text(encoding="utf-8"))
    original = yaml.safe_load(ORIGINAL)
    for section in ("TRAIN", "VALID", "TEST", "INFER"):
        ours[section]["filelist"] = ours[section]["filelist"].removeprefix("../")  # from the file's own folder
    assert original["TRAIN"].pop("num_samples") == 5_000_000
    assert ours["TRAIN"].pop("num_samples") == 3_888_919
    assert ours == original


def test_the_recipe_for_one_card_is_an_eighth_of_the_whole():
    whole, single = (
        load_config(CONFIGS / name).model_dump() for name in ("attention_lstm.yaml", "attention_lstm-single.yaml")
    )
    for key in ("num_gpus", "batch_size", "learning_rate"):
        assert single["TRAIN"].pop(key) == whole["TRAIN"].pop(key) / 8
    assert single.pop("VALID")["batch_size"] == whole.pop("VALID")["batch_size"] / 8
    assert single == whole


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_the_files_of_the_course_load(name):
    config = load_config(CONFIGS / name)
    assert Path(config.TRAIN.filelist).parent.parts[-1] in ("youtube8m", "flashdigits")
    assert os.pardir not in Path(config.TRAIN.filelist).parts
    assert math.isfinite(config.TRAIN.learning_rate)


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "MODEL: {}\n"])
def test_an_empty_file_is_all_defaults(load, text):
    assert load(text) == Config()


def test_text_that_is_a_number_becomes_one(load):
    assert yaml.safe_load("x: 1e-3") == {"x": "1e-3"}  # YAML 1.1 wants 1.0e-3
    assert load("TRAIN:\n  learning_rate: 1e-3\n").TRAIN.learning_rate == 0.001
    assert load('TRAIN:\n  batch_size: "64"\n').TRAIN.batch_size == 64


@pytest.mark.parametrize("start", ["", "\ufeff", "%YAML 1.1\n---\n"], ids=["plain", "BOM", "directive"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_files_of_any_editor(tmp_path, start, line_end):
    text = start + "# 设置\nTRAIN:\n  epoch: 3\n"
    path = tmp_path / "my.yaml"
    path.write_bytes(text.replace("\n", line_end).encode())
    assert load_config(path).TRAIN.epoch == 3
    path.write_bytes((text + "  epok: 4\n").replace("\n", line_end).encode())
    with pytest.raises(ConfigError, match=rf"line {4 + start.count(chr(10))}, TRAIN\.epok: unknown key"):
        load_config(path)


def test_anchors(load):
    config = load("VALID: &those {batch_size: &size 64}\nTRAIN: {batch_size: *size}\nTEST: {<<: *those}\n")
    assert (config.VALID.batch_size, config.TRAIN.batch_size, config.TEST.batch_size) == (64, 64, 64)


def test_what_was_saved_loads_to_the_same_from_anywhere(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {"TRAIN.filelist": "数据/train.list", "TRAIN.pretrain_base": "a.pdparams", "INFER.class_names": "b.csv"}
    settings = {**paths, "TRAIN.clip_norm": 25, "TRAIN.decay_epochs": [5, 8]}
    config = load(ORIGINAL, settings)
    save_config(tmp_path / "out" / "config.yaml", config)
    monkeypatch.chdir(tmp_path.parent)
    expected = config.model_dump()
    for dotted, path in paths.items():
        section, _, key = dotted.partition(".")
        expected[section][key] = str(tmp_path / path)
    assert load_config(tmp_path / "out" / "config.yaml").model_dump() == expected


def test_a_project_that_is_moved_as_a_whole_finds_its_files(load, tmp_path):
    project, elsewhere = tmp_path / "my 项目", tmp_path / "a.pdparams"
    paths = {"TRAIN.filelist": str(project / "data" / "train.list"), "TRAIN.pretrain_base": str(elsewhere)}
    save_config(project / "run" / "config.yaml", load(ORIGINAL, paths))
    moved = project.rename(tmp_path / "moved")
    (moved / "data").mkdir()
    (moved / "data" / "train.list").touch()
    again = load_config(moved / "run" / "config.yaml").TRAIN
    assert (again.filelist, again.pretrain_base) == (str(moved / "data" / "train.list"), str(elsewhere))


@pytest.mark.posix
def test_a_run_folder_that_is_a_link_finds_its_files(load, tmp_path):
    """From the link's target, ``..`` leads elsewhere."""
    (tmp_path / "scratch" / "run").mkdir(parents=True)
    project = tmp_path / "project"
    project.mkdir()
    (project / "run").symlink_to(tmp_path / "scratch" / "run")
    filelist = str(project / "data" / "train.list")
    save_config(project / "run" / "config.yaml", load(ORIGINAL, {"TRAIN.filelist": filelist}))
    for way in (project / "run", tmp_path / "scratch" / "run"):
        assert load_config(way / "config.yaml").TRAIN.filelist == filelist


@pytest.mark.parametrize("word", ["None", "null", "~", ""])
def test_ways_to_write_null(load, word):
    assert load(f"TRAIN:\n  pretrain_base: {word}\n  clip_norm: {word}\n").TRAIN.pretrain_base is None


# --- the table of keys ------------------------------------------------------------------------------------------


def test_every_key_has_a_description_of_its_own():
    rows = key_table()
    assert [name for name, _, meaning in rows if len(meaning) < 8] == []
    sections = Config().model_dump()
    assert [name for name, _, _ in rows] == [f"{section}.{key}" for section in sections for key in sections[section]]


def test_the_table_shows_the_defaults_that_hold():
    config = Config()
    for name, default, _ in key_table():
        section, key = name.split(".")
        assert default == str(getattr(getattr(config, section), key))


def test_every_key_of_the_original_is_known():
    original = {f"{section}.{key}" for section, keys in yaml.safe_load(ORIGINAL).items() for key in keys}
    assert original <= {name for name, _, _ in key_table()}


# --- precedence -------------------------------------------------------------------------------------------------


def test_default_file_override(load):
    assert load("").TRAIN.batch_size == TrainSection().batch_size == 1024
    assert load("TRAIN:\n  batch_size: 256\n").TRAIN.batch_size == 256
    assert load("TRAIN:\n  batch_size: 256\n", {"TRAIN.batch_size": 64}).TRAIN.batch_size == 64
    assert load("", {"TRAIN.batch_size": 64}).TRAIN.batch_size == 64  # a section that the file lacks


def test_an_override_changes_its_key_only(load):
    before, after = load(ORIGINAL).model_dump(), load(ORIGINAL, {"TRAIN.epoch": 3}).model_dump()
    assert after["TRAIN"].pop("epoch") == 3 and before["TRAIN"].pop("epoch") == 10
    assert after == before


@pytest.mark.parametrize("word", ["None", "null", ""])
def test_an_override_can_set_null(load, word):
    settings = dict([parse_override(f"TRAIN.clip_norm={word}")])
    assert load("TRAIN:\n  clip_norm: 25\n", settings).TRAIN.clip_norm is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TRAIN.batch_size=64", ("TRAIN.batch_size", 64)),
        ("TRAIN.learning_rate=1e-3", ("TRAIN.learning_rate", "1e-3")),
        ("TRAIN.decay_epochs=[5, 8]", ("TRAIN.decay_epochs", [5, 8])),
        ("TRAIN.use_gpu=False", ("TRAIN.use_gpu", False)),
        ("TRAIN.pretrain_base=None", ("TRAIN.pretrain_base", None)),
        ("TRAIN.filelist=a=b/train.list", ("TRAIN.filelist", "a=b/train.list")),
        ("TRAIN.filelist=C:\\data\\train.list", ("TRAIN.filelist", "C:\\data\\train.list")),
    ],
)
def test_parse_override(text, expected):
    assert parse_override(text) == expected


def test_overrides_that_cannot_be_read():
    with pytest.raises(ConfigError, match=r"-o TRAIN\.epoch: no = in it; write -o SECTION\.key=value"):
        parse_override("TRAIN.epoch")
    for value in ("[5", "010", "[" * 3000):
        with pytest.raises(ConfigError, match="the value is not YAML"):
            parse_override(f"TRAIN.decay_epochs={value}")


def test_overrides_are_checked_like_the_file(load):
    settings = dict(map(parse_override, ["TRAIN.learning_rate=1e-3", "TRAIN.decay_epochs=[5, 8]"]))
    train = load("", settings).TRAIN
    assert (train.learning_rate, train.decay_epochs) == (0.001, (5, 8))


# --- relative paths ---------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder beside the folder of the file."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_path_in_the_file_is_taken_from_the_files_folder(load, tmp_path, here):
    text = "TRAIN: {filelist: lists/train.list, pretrain_base: ../a.pdparams}\nINFER: {class_names: labels.csv}\n"
    (here / "labels.csv").write_text("")
    (tmp_path / "labels.csv").write_text("")  # both are there: the file's folder comes first
    config = load(text)
    assert config.TRAIN.filelist == str(tmp_path / "lists" / "train.list")
    assert config.TRAIN.pretrain_base == str(tmp_path.parent / "a.pdparams")
    assert config.INFER.class_names == str(tmp_path / "labels.csv")


def test_a_path_that_only_the_current_folder_has(load, here):
    (here / "train.list").write_text("")
    assert Path(load("TRAIN: {filelist: train.list}\n").TRAIN.filelist).resolve() == here / "train.list"


def test_a_path_in_an_override_is_taken_from_the_current_folder(load, tmp_path, here):
    (tmp_path / "train.list").write_text("")
    config = load("", {"TRAIN.filelist": "train.list"})
    assert Path(config.TRAIN.filelist).resolve() == here / "train.list"


def test_an_absolute_path_stays(load, here):
    path = here / "数据 of mine" / "train.list"
    assert load(yaml.safe_dump({"TRAIN": {"filelist": str(path)}})).TRAIN.filelist == str(path)


# --- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "TRAIN:\n  epoch: 3\n  batchsize: 64\n",
            "line 3, TRAIN.batchsize: unknown key; did you mean TRAIN.batch_size?",
        ),
        (
            "MODEL:\n  embeding_size: 3\n",
            "line 2, MODEL.embeding_size: unknown key; did you mean MODEL.embedding_size?",
        ),
        ("\n# first\n\nTRIAN:\n  epoch: 3\n", "line 4, TRIAN: unknown key; did you mean TRAIN?"),
        ("MODEL: {lstm_size: 3}\nTRAIN: {epoch: 1,\n  lerning_rate: 2}\n", "line 3, TRAIN.lerning_rate: unknown key"),
        ("MODEL:\n  qqqqqqqqqqqq: 1\n", "line 2, MODEL.qqqqqqqqqqqq: unknown key; see notebook 07"),
        ("MODEL:\n  epoch: 3\n", "line 2, MODEL.epoch: unknown key; did you mean TRAIN.epoch?"),
        ("X: &x {epoch: 3}\nTRAIN: *x\n", "line 1, X: unknown key"),
        ("epoch: 3\n", "line 1, epoch: unknown key; did you mean TRAIN.epoch?"),
        ("train:\n  epoch: 3\n", "line 1, train: unknown key; did you mean TRAIN?"),
        ("TRAIN:\n  EPOCH: 3\n", "line 2, TRAIN.EPOCH: unknown key; did you mean TRAIN.epoch?"),
    ],
)
def test_unknown_keys_name_their_line_and_the_nearest_key(refusal, text, message):
    assert refusal(text).startswith(f"my.yaml, {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "MODEL:\n  name: AttentionCluster\n  drop_rate: 0.5\n  cluster_nums: [32, 32]\n",
            "line 4, MODEL.cluster_nums",
        ),
        ("MODEL:\n  name: NEXTVLAD\n  num_classes: 3862\n  groups: 8\n", "line 4, MODEL.groups"),
        ("MODEL:\n  name: TSN\n  seg_num: 3\nTRAIN:\n  short_size: 256\n", "line 3, MODEL.seg_num"),
        ("MODEL:\n  name: STNET\nTRAIN:\n  num_reader_threads: 12\n", "line 4, TRAIN.num_reader_threads"),
    ],
)
def test_files_of_the_original_s_other_models_are_refused(refusal, text, message):
    assert refusal(text).startswith(f"my.yaml, {message}: unknown key; ")


@pytest.mark.parametrize(
    ("section", "line", "message"),
    [
        ("TRAIN", "epoch: ten", "'ten' does not fit: input should be a valid integer"),
        ("TRAIN", "epoch: 2.5", "2.5 does not fit: input should be a valid integer"),
        ("TRAIN", "epoch: 0", "0 does not fit: input should be greater than or equal to 1"),
        ("TRAIN", "epoch: -1", "-1 does not fit: input should be greater than or equal to 1"),
        ("TRAIN", "epoch:", "None does not fit: input should be a valid integer"),
        ("TRAIN", "epoch: true", "True does not fit: input should not be true or false"),
        ("TRAIN", "learning_rate: yes", "'yes' does not fit: input should be a valid number"),
        ("TRAIN", "learning_rate: .inf", "inf does not fit"),
        ("TRAIN", "learning_rate: nan", "'nan' does not fit"),
        ("TRAIN", "epoch: 1:30x", "'1:30x' does not fit"),
        ("TRAIN", "epoch: 1e3", "'1e3' does not fit: input should be a valid integer"),
        ("TRAIN", "epoch: 2026-01-01", "'2026-01-01' does not fit: input should be a valid integer"),
        (
            "MODEL",
            "lstm_size: 1000000000000",
            "1000000000000 does not fit: input should be less than",
        ),
        ("MODEL", "fc_sizes: [65537, 1]", "65537 does not fit: input should be less than or equal to 65536"),
        ("MODEL", "num_classes: 4294967296", "4294967296 does not fit: input should be less than or equal to 1048576"),
        (
            "TRAIN",
            "batch_size: 4294967296",
            "4294967296 does not fit: input should be less than",
        ),
        ("TRAIN", "seed: 1000000000000000000000000000000000000000000000000000000000", "100000000000000000...0"),
        ("MODEL", 'name: "a\\n"', r"'a\n' does not fit"),
        ("MODEL", f"name: {'a' * 90}", "'aaaaaaaaaaaa...aaaaaaaaaaaaa' does not fit"),
        ("TRAIN", "decay_epochs: [true]", "[True] does not fit: input should not be true or false"),
        ("TRAIN", "decay_epochs: [-5]", "-5 does not fit: input should be greater than or equal to 1"),
        ("MODEL", "fc_sizes: [0, 4]", "0 does not fit: input should be greater than or equal to 1"),
        ("TRAIN", "epoch: [3]", "[3] does not fit: input should be a valid integer"),
        ("TRAIN", "num_gpus: '0,1'", "'0,1' does not fit: input should be a valid integer"),
        ("TRAIN", "decay_epochs: 5", "5 does not fit: input should be a valid tuple"),
        ("TRAIN", "accumulate: 0", "0 does not fit: input should be greater than or equal to 1"),
        ("TRAIN", "clip_norm: 0", "0 does not fit: input should be greater than 0"),
        ("TRAIN", "learning_rate: 0", "0 does not fit: input should be greater than 0"),
        ("TRAIN", "learning_rate: .nan", "nan does not fit"),
        ("TRAIN", "use_gpu: maybe", "'maybe' does not fit: input should be a valid boolean"),
        ("TRAIN", "schedule: linear", "'linear' does not fit: input should be 'step' or 'cosine'"),
        ("TRAIN", "decay_epochs: [5, x]", "'x' does not fit: input should be a valid integer"),
        ("TRAIN", "filelist: 3", "3 does not fit: input should be a valid string"),
        ("MODEL", "drop_rate: 1.0", "1.0 does not fit: input should be less than 1"),
        ("MODEL", "feature_dims: [1024, 256]", "256 does not fit: input should be 128"),
        ("MODEL", "feature_names: [audio, rgb]", "'audio' does not fit: input should be 'rgb'"),
        ("MODEL", "fc_sizes: [3, 4, 5]", "[3, 4, 5] does not fit"),
        ("MODEL", "name: ../evil", "'../evil' does not fit"),
    ],
)
def test_values_that_do_not_fit_name_their_line(refusal, section, line, message):
    key = line.partition(":")[0]
    found = refusal(f"# a comment\n{section}:\n  {line}\n")
    assert found.startswith(f"my.yaml, line 3, {section}.{key}: {message}")
    assert found.endswith("; see notebook 07 for the key")


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        ({"TRAIN.epoc": 3}, "TRAIN.epoc: unknown key; did you mean TRAIN.epoch?"),
        ({"TRAIN.epoch": 0}, "TRAIN.epoch: 0 does not fit"),
        ({"epoch": 3}, "epoch: not a key; name it SECTION.key"),
    ],
)
def test_a_fault_of_an_override_is_not_blamed_on_the_file(refusal, overrides, start):
    assert refusal("TRAIN:\n  epoch: 5\n", overrides).startswith(start)


@pytest.mark.parametrize("text", ["~: 1", "true: 1", "3: 1"])
def test_keys_that_are_no_text_are_blamed_on_the_file(refusal, text):
    assert re.match(r"my\.yaml.*keys should be strings", refusal(f"TRAIN:\n  {text}\n", {"TRAIN.epoch": 3}))


def test_an_override_can_mend_the_file(load):
    assert load("TRAIN:\n  epoch: ten\n", {"TRAIN.epoch": 10}).TRAIN.epoch == 10


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("TRAIN: [1", "line 1, column 10"),
        ("TRAIN:\n\tepoch: 3\n", r"'\\t' that cannot start any token .*line 2"),
        ("TRAIN:\n  epoch: 3\t# a tab\n", r"'\\t' that cannot start any token .*line 2"),
        ("TRAIN:\n  epoch 3\n  seed: 4\n", "line 3"),
        ("TRAIN:\n  epoch: *three\n", "undefined alias 'three' .*line 2"),
        ("TRAIN:\n  epoch: 3\n  seed: 1\n  epoch: 4\n", "TRAIN.epoch is in line 2 and again in line 4"),
        ("TRAIN: {}\nMODEL: {}\nTRAIN: {}\n", "TRAIN is in line 1 and again in line 3"),
        ("TRAIN: {}\n---\nTRAIN: {}\n", "a single document .*line 2"),
        ("TRAIN:\n  [1, 2]: 3\n", "unhashable key .*line 2"),
        ("TRAIN:\n  epoch: !three 3\n", "the tag '!three' .*line 2"),
        ("TRAIN:\n  epoch: 010\n", "line 2: 010 is another number in YAML"),
        ("TRAIN:\n  epoch: -0_7\n", "line 2: -0_7 is another number in YAML"),
        ("TRAIN:\n  epoch: 1:30\n", "line 2: 1:30 is another number in YAML"),
        ("TRAIN:\n  learning_rate: 1:30.5\n", "line 2: 1:30.5 is another number in YAML"),
        ("TRAIN:\n  epoch: &e [*e]\n", "an alias is inside of what it repeats"),
        ("TRAIN:\n  epoch: !!int ten\n", "'ten'"),
        ("TRAIN:\n  use_gpu: !!bool x\n", "a !! does not fit the value"),
        ("TRAIN:\n  epoch: !!timestamp x\n", "a !! does not fit the value"),
        ("TRAIN:\n  epoch: !!float ''\n", "(a !! does not fit|could not convert)"),
        (f"TRAIN:\n  epoch: {'9' * 5000}\n", "5000 digits"),
        ("TRAIN: " + "[" * 3000, "recursion depth"),
        ("- 1\n", "not a mapping of sections"),
        ("just text", "not a mapping of sections"),
        ("[]", "not a mapping of sections"),
    ],
)
def test_what_is_no_yaml_of_sections(refusal, text, reason):
    message = refusal(text)
    assert re.match(rf"my\.yaml: not readable as YAML \(.*{reason}", message) and "unicode string" not in message


@pytest.mark.parametrize("tag", ["object/apply", "object/new"])
@pytest.mark.parametrize("start", ["", "# a comment\nTRAIN:\n  epoch: "])
def test_a_tag_that_runs_code_is_refused(refusal, tmp_path, start, tag):
    value = f"!!python/{tag}:os.mkdir [{tmp_path / 'it ran'}]"
    assert re.search(rf":os\.mkdir' .*line {1 + start.count(chr(10))}", refusal(f"{start}{value}\n"))
    with pytest.raises(ConfigError, match=rf"-o TRAIN\.epoch=!!python/{tag}:"):
        parse_override(f"TRAIN.epoch={value}")
    assert not (tmp_path / "it ran").exists()


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "my.yaml").write_bytes("MODEL:\n  dataset: Größe\n".encode("latin1"))
    with pytest.raises(ConfigError, match=r"my\.yaml: byte 20 is not UTF-8; save it as UTF-8"):
        load_config(tmp_path / "my.yaml")
    (tmp_path / "my.yaml").write_bytes(b"\x80\x04\x95" + bytes(200_000))
    with pytest.raises(ConfigError, match=r"my\.yaml: a configuration has at most 100,000 bytes"):
        load_config(tmp_path / "my.yaml")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_other_encodings_with_a_mark(tmp_path, encoding):
    (tmp_path / "my.yaml").write_text("MODEL:\n  dataset: 视频\n  topk: 3\n", encoding=encoding)
    assert load_config(tmp_path / "my.yaml").MODEL.dataset == "视频"


def nested(repeat):
    """A million values in a few lines."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {repeat.format(', '.join([f'*a{n - 1}'] * 10))}" for n in range(1, 7)]
    return "\n".join(lines) + "\nMODEL: {name: *a6}\n"


BOMBS = {
    "nested lists": nested("[{}]"),
    "nested maps": nested("{{<<: [{}]}}"),
    "a long list, often": f"a: &a [{'1,' * 5000}]\nb: [{'*a,' * 5000}]\n",
    "a long text, often": f"a: &a {'x' * 50_000}\nMODEL: {{fc_sizes: [{'*a,' * 9000}]}}\n",
    "a long key": f"MODEL: {{{'x' * 90_000}: 1}}\n",
    "a long section": f"{'x' * 90_000}: 1\n",
    "a long tag": f"MODEL: !{'x' * 90_000} 1\n",
    "many values": f"MODEL: {{fc_sizes: [{'1,' * 40_000}]}}\n",
    "many levels": "MODEL: " + "[" * 90_000,
    "many lines": "\n" * 99_000 + "MODEL: 1",
    "many keys": "".join(f"x{n}: 1\n" for n in range(4000)),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", BOMBS)
def test_small_files_with_much_in_them_are_one_short_sentence(refusal, name):
    message = refusal(BOMBS[name])
    assert len(message) < 1200  # of a key of any length, its beginning
    assert "nested" not in name or "it has more than 10,000 values" in message


@pytest.mark.no_cover
@pytest.mark.parametrize("name", BOMBS)
def test_overrides_with_much_in_them_are_one_short_sentence(load, name):
    with pytest.raises(ConfigError) as caught:
        load("", dict([parse_override(f"MODEL={BOMBS[name]}")]))
    assert len(str(caught.value)) < 1200


def test_a_mapping_may_be_repeated(load):
    config = load("VALID: &those {batch_size: 64, filelist: /a.list}\nTEST: *those\n")
    assert config.TEST.model_dump() == config.VALID.model_dump()


def test_words_are_words(load):
    """YAML 1.1 takes off for false."""
    config = load("MODEL: {dataset: no}\nTRAIN: {amp: off, use_gpu: off, schedule: step, batch_size: 1_000}\n")
    assert (config.MODEL.dataset, config.TRAIN.amp, config.TRAIN.use_gpu) == ("no", "off", False)
    assert config.TRAIN.batch_size == 1000
    assert load("TRAIN: {use_gpu: TRUE}\n").TRAIN.use_gpu and load("TRAIN: {use_gpu: yes}\n").TRAIN.use_gpu
    assert parse_override("TRAIN.amp=off") == ("TRAIN.amp", "off")


def test_numbers_are_saved_so_that_they_load(load, tmp_path):
    for text in ("010", "1:30", "off", "1e-3", "2026-01-01"):
        config = load(f"MODEL: {{dataset: '{text}x'}}\nTRAIN: {{learning_rate: 0.00001}}\n", {"MODEL.dataset": text})
        save_config(tmp_path / "saved.yaml", config)
        loaded = load_config(tmp_path / "saved.yaml")
        assert (loaded.MODEL.dataset, loaded.TRAIN.learning_rate) == (text, 0.00001)


def test_a_missing_file(tmp_path):
    with pytest.raises(AlstmError, match=r"none\.yaml: no such file; pass --config"):
        load_config(tmp_path / "none.yaml")


def test_a_section_that_is_no_mapping_is_the_file_s_fault(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text("# a remark\nTRAIN: 5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"odd\.yaml, line 2, TRAIN: 5 does not fit"):
        load_config(path, {"TRAIN.epoch": 3})


def test_a_seed_that_paddle_cannot_take_is_refused(tmp_path):
    path = tmp_path / "seed.yaml"
    path.write_text(f"TRAIN:\n  seed: {2**63}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 2, TRAIN\.seed: .* does not fit"):
        load_config(path)


def test_a_name_is_limited_in_bytes_too(tmp_path):
    """A file name has 255 of them; a character may need four."""
    path = tmp_path / "x.yaml"
    path.write_text("MODEL: {}", encoding="utf-8")
    assert load_config(path, {"MODEL.name": "好" * 60}).MODEL.name == "好" * 60
    with pytest.raises(ConfigError, match=r"MODEL\.name: '.*' does not fit: input should have at most 180 bytes; see"):
        load_config(path, {"MODEL.name": "𠀀" * 46})
