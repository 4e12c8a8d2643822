"""The YAML configuration: one typed schema, which notebook 07 prints as its tables.

The original ``attention_lstm.yaml`` loads unchanged (upper-case sections, ``None`` as a word). A command-line flag
overrides ``-o SECTION.key=value``, which overrides the file, which overrides the default here.
"""

from __future__ import annotations

import difflib
import os
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from alstm_helpers.errors import AlstmError, ConfigError
from alstm_helpers.files import atomic_write, read_text, require_file
from alstm_helpers.paths import course_files, work_folder

_LONGEST = 100_000  # characters of a file; one with every key has 3,000
_MOST = 10_000  # values in a file, those that aliases repeat included
_LONGEST_NAME = 180  # bytes of a name as UTF-8; a file name has 255, and _latest.pdstate and the like follow it
_Size = Annotated[int, Field(ge=1, le=2**16)]  # of a layer
_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Amount = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Section(BaseModel):
    """A section that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_number_is_not_true(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true where a number belongs; pydantic would take it for 1."""
        wants_bool = cls.model_fields[info.field_name or ""].annotation is bool
        if not wants_bool and any(isinstance(item, bool) for item in (value if isinstance(value, list) else [value])):
            raise PydanticCustomError("bool", "input should not be true or false")
        return value


class ModelSection(Section):
    """Keys of the network."""

    name: str = Field("AttentionLSTM", pattern=r"^\w{1,60}$", description="model name, the prefix of checkpoint files")
    dataset: str = Field("YouTube-8M", description="name of the data set, for the log only")
    bone_nework: None = Field(None, description="unused; accepted because the original file has this misspelt key")
    drop_rate: float = Field(0.5, ge=0, lt=1, description="dropout between the LSTM and the attention")
    feature_num: Literal[2] = Field(2, description="streams: rgb and audio")
    feature_names: tuple[Literal["rgb"], Literal["audio"]] = Field(("rgb", "audio"), description="names of the streams")
    feature_dims: tuple[Literal[1024], Literal[128]] = Field((1024, 128), description="bytes per second of each stream")
    embedding_size: _Size = Field(512, description="size of each stream after its first layer")
    lstm_size: _Size = Field(1024, description="size of the LSTM state in each direction")
    fc_sizes: tuple[_Size, _Size] = Field((8192, 4096), description="the two layers after the attention")
    pooling: Literal["attention", "attention+deviation", "mean", "last"] = Field(
        "attention", description="how the seconds become one vector"
    )
    num_classes: int = Field(3862, ge=1, le=2**20, description="classes; YouTube-8M 2018 has 3862")
    topk: _Count = Field(20, description="predictions of a video that enter GAP")

    @field_validator("name")
    @classmethod
    def _a_name_fits_into_file_names(cls, name: str) -> str:
        """Refuse a name of so many bytes that no file system takes those of its files."""
        if len(name.encode()) > _LONGEST_NAME:
            raise PydanticCustomError("name", "input should have at most {most} bytes", {"most": _LONGEST_NAME})
        return name

    def parameters(self) -> int:
        """Return the number of the network's parameters, without those of its attention."""
        embedding, state, (first, second) = self.embedding_size, self.lstm_size, self.fc_sizes
        lstm = 2 * 4 * state * (embedding + state + 2)
        streams = sum((dim + 1) * embedding + lstm for dim in self.feature_dims)
        pooled = 2 * (2 * state + (embedding if self.pooling == "attention+deviation" else 0))
        return streams + (pooled + 1) * first + (first + 1) * second + (second + 1) * self.num_classes


class TrainSection(Section):
    """Keys of training."""

    epoch: _Count = Field(10, description="passes over the training data")
    learning_rate: float = Field(0.001, gt=0, description="of RMSProp, after the warm-up")
    schedule: Literal["step", "cosine"] = Field(
        "step", description="step: times decay_gamma at each of decay_epochs; cosine: to 2 % at the end"
    )
    decay_epochs: tuple[_Count, ...] = Field(
        (5,), description="epochs at which the learning rate falls (schedule step)"
    )
    decay_gamma: float = Field(0.1, gt=0, le=1, description="the factor of each fall")
    warmup_iters: _Amount = Field(0, description="steps over which the learning rate rises from 0")
    weight_decay: float = Field(0.0008, ge=0, description="L2, added to the gradient of all but the last biases")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the whole gradient; null: no clipping")
    num_samples: _Count | None = Field(None, description="training videos, for the schedule; null: counted")
    pretrain_base: str | None = Field(
        None, description="file of weights to start from; --pretrain also takes an address"
    )
    keep_classes: _Amount = Field(
        0, description="with pretrained weights of fewer classes: how many of the first classes are the same"
    )
    freeze_epochs: _Amount = Field(0, description="epochs in which only the last three layers learn")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: a true label of a rare class counts more in the loss, one of a common class less"
    )
    patience: _Count | None = Field(
        None,
        description="stop after this many validations without a better GAP, or an equal one at a smaller loss;"
        " null: never",
    )
    batch_size: _Count = Field(1024, description="videos per step, over all GPUs together")
    accumulate: _Count = Field(1, description="parts of a batch whose gradients are added up, to save memory")
    amp: Literal["off", "bfloat16", "float16"] = Field(
        "off", description="mixed precision on a GPU: bfloat16 from Ampere on (A100), float16 also before (V100, T4)"
    )
    use_gpu: bool = Field(True, description="train on a GPU")
    num_gpus: _Count = Field(8, description="GPUs; used only with use_gpu")
    filelist: str = Field("data/dataset/youtube8m/train.list", description="list of training shards")
    seed: int = Field(0, ge=0, lt=2**63, description="seed used with --fix_random_seed=True")
    shuffle_shards: _Count = Field(4, description="shards held in memory and mixed with each other")


class ValidSection(Section):
    """Keys of validation during training."""

    batch_size: _Count = Field(1024, description="videos per step")
    filelist: str = Field("data/dataset/youtube8m/val.list", description="list of validation shards")


class TestSection(Section):
    """Keys of ``alstm eval``."""

    batch_size: _Count = Field(128, description="videos per step")
    filelist: str = Field("data/dataset/youtube8m/test.list", description="list of shards to evaluate")


class InferSection(Section):
    """Keys of ``alstm predict``."""

    batch_size: _Count = Field(1, description="videos per step")
    filelist: str = Field("data/dataset/youtube8m/infer.list", description="list of shards to predict")
    class_names: str | None = Field(None, description="CSV of class names: index,name or YouTube-8M's vocabulary.csv")


class Config(Section):
    """The whole file."""

    MODEL: ModelSection = Field(ModelSection(), description="the network (chapter 1, 7.3)")
    TRAIN: TrainSection = Field(TrainSection(), description="optimiser, schedule and data (chapters 4, 7.2, 7.4, 8)")
    VALID: ValidSection = Field(ValidSection(), description="validation during training (chapter 5.1)")
    TEST: TestSection = Field(TestSection(), description="evaluation, `alstm eval` (chapter 5.2)")
    INFER: InferSection = Field(InferSection(), description="prediction, `alstm predict` (chapter 5.4)")


_Values = dict[str, Any]  # as the YAML file has them, before validation
PATH_KEYS = ("filelist", "class_names", "pretrain_base")


def save_config(path: str | os.PathLike[str], config: Config) -> None:
    """Write a YAML file from which :func:`load_config` reads the same settings in any folder.

    What lies in the folder that the file's own one is in, or below, is named from there, so that a project can be moved
    as a whole; all else by absolute paths.
    """
    values = config.model_dump(mode="json")
    folder = Path(os.path.normpath(Path(path).absolute())).parent
    for section in values.values():
        section |= {key: _named_from(folder, section[key]) for key in PATH_KEYS if section.get(key)}
    with atomic_write(path, "w") as file:
        yaml.safe_dump(values, file, sort_keys=False, allow_unicode=True)


def _named_from(folder: Path, text: str) -> str:
    """Return the path from ``folder`` of what lies in its parent or below; an absolute path of all else."""
    path = Path(os.path.normpath(Path(text).absolute()))
    if folder.parent not in path.parents or folder.parent == Path(folder.anchor):
        return str(path)
    near = os.path.relpath(path, folder)
    leads_there = os.path.realpath(Path(os.path.realpath(folder), near)) == os.path.realpath(path)  # no link between
    return Path(near).as_posix() if leads_there else str(path)


def key_table() -> list[tuple[str, str, str]]:
    """Return every key as (dotted name, default, description), in the order of the file."""
    rows = []
    for section_name, section in Config.model_fields.items():
        for name, field in type(section.default).model_fields.items():
            rows.append((f"{section_name}.{name}", str(field.default), field.description or ""))
    return rows


def find_config(path: str | os.PathLike[str]) -> Path:
    """Return the path of a configuration: as given, or, if nothing is there, below the course's files."""
    given, shipped = Path(path), course_files() / path
    return shipped if shipped.is_file() and not given.exists() else given


def load_config(path: str | os.PathLike[str], overrides: Mapping[str, object] | None = None) -> Config:
    """Read a YAML file and apply overrides to it.

    Relative paths in the file are taken from the file's folder; if nothing is there, from the current folder, as the
    original scripts did. In the course's own files they are taken from ``configs/`` of the work folder, whether or not
    that folder exists. Relative paths in overrides are taken from the current folder.

    Args:
        path: the YAML file.
        overrides: values by dotted key (``TRAIN.batch_size``).

    Raises:
        ConfigError: not YAML, an unknown key (with its line and the nearest known key), or a bad value.
    """
    own = Path(path).name == "own.yaml"  # as `alstm features` calls what it writes
    remedy = "`alstm features` writes it" if own else "pass --config configs/flashdigits.yaml or another YAML file"
    path = require_file(path, remedy)
    if path.stat().st_size > _LONGEST:
        raise ConfigError(path, f"a configuration has at most {_LONGEST:,} bytes", "pass the YAML file of a training")
    try:
        values, lines = _parse(read_text(path, "save it as UTF-8"))
    except AlstmError as error:
        raise ConfigError(error.where, error.problem, error.remedy) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number of 5,000 digits
        raise ConfigError(path, f"not readable as YAML ({_on_one_line(error)})", "fix the syntax") from None
    _resolve_paths(values, _folder_of(path))
    _override(values, lines, overrides or {})
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise _explain(path, lines, overrides or {}, error) from None


def _folder_of(path: Path) -> Path:
    """Return the folder from which the relative paths in a file are taken."""
    configs = course_files() / "configs"
    work = work_folder() / "configs"
    return work if work != configs and path.parent.resolve() == configs else path.parent


def _resolve_paths(values: _Values, folder: Path) -> None:
    """Take relative paths in the file from its own folder, in place."""
    for content in values.values():
        for key in PATH_KEYS:
            if isinstance(content, dict) and isinstance(content.get(key), str):
                content[key] = _resolve(folder, content[key])


def _override(values: _Values, lines: dict[str, int], overrides: Mapping[str, object]) -> None:
    """Put overrides in, in place; their lines go, because from then on a bad value is not the file's."""
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        content = values.setdefault(section, {})
        if not key:
            raise ConfigError(dotted, "not a key", "name it SECTION.key, as in TRAIN.batch_size")
        if isinstance(content, dict):  # else the file is wrong, and validation says so
            content[key] = value
            lines.pop(dotted, None)


def _on_one_line(error: Exception) -> str:
    """Return what the parser says, without the name that PyYAML has for a text: its file is named already."""
    return " ".join(str(error).split()).replace(' in "<unicode string>",', " in")


def parse_override(text: str) -> tuple[str, object]:
    """Split ``KEY=VALUE`` from ``-o`` into the dotted key and its value, which is read as YAML.

    Raises:
        ConfigError: there is no ``=``, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"-o {text}", "no = in it", "write -o SECTION.key=value, as in -o TRAIN.batch_size=64")
    try:
        return key.strip(), _plain(_construct(value)[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = f"the value is not YAML ({_on_one_line(error)})"
        raise ConfigError(f"-o {text[:200]}", problem, "correct it, or quote it") from None


def _plain(value: object) -> object:
    """Return null for ``None``, as the original files spell it."""
    return None if value == "None" else value


class _Loader(yaml.SafeLoader):
    """Reads YAML 1.1 without its surprises: no and off are words, 010 and 1:30 are refused, and aliases are counted."""

    def __init__(self, document: str) -> None:
        super().__init__(document)
        self._values = 0  # so far, with each alias counted as all that it repeats
        self._sizes = dict[int, int]()  # by the identity of a finished node

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, unless there are too many.

        Raises:
            yaml.YAMLError: there are, or an alias is inside of what it repeats.
        """
        before, is_alias = self._values, self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self._sizes:
            raise yaml.YAMLError("an alias is inside of what it repeats")
        self._values += self._sizes[id(node)] if is_alias else 1
        self._sizes[id(node)] = self._values - before
        if self._values > _MOST:
            raise yaml.YAMLError(f"it has more than {_MOST:,} values")
        return node

    def number(self, node: yaml.ScalarNode) -> int | float:
        """Return a number.

        Raises:
            yaml.YAMLError: it has two readings.
        """
        if ":" in node.value or re.fullmatch(r"[-+]?0[0-9_]+", node.value):
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: {node.value[:50]} is another number in YAML; write it without 0 or :")
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


_WORDS = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}  # no, off, 2026-01-01
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag not in _WORDS]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)\Z", re.IGNORECASE), list("tTfF"))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)


def _construct(document: str) -> tuple[yaml.Node | None, Any]:
    """Return the node of a document, for the lines of its keys, and its value.

    Raises:
        yaml.YAMLError: the document is not YAML, or has too many values.
    """
    if len(document) > _LONGEST:
        raise yaml.YAMLError(f"more than {_LONGEST:,} characters")
    loader = _Loader(document)
    node = loader.get_single_node()
    try:
        return node, None if node is None else loader.construct_document(node)
    except (AttributeError, LookupError, TypeError):  # as PyYAML's constructors raise
        raise yaml.YAMLError("a !! does not fit the value that it is written before") from None


def _parse(document: str) -> tuple[_Values, dict[str, int]]:
    """Return the values, and the line of each dotted key."""
    root, loaded = _construct(document)
    loaded = {} if loaded is None else loaded
    if not isinstance(loaded, dict):
        raise yaml.YAMLError("the file is not a mapping of sections")
    values = {
        section: {key: _plain(value) for key, value in content.items()} if isinstance(content, dict) else content
        for section, content in loaded.items()
        if content is not None  # a section whose keys are all commented out
    }
    lines: dict[str, int] = {}

    def note(dotted: str, node: yaml.Node) -> None:
        line = node.start_mark.line + 1
        if dotted in lines:  # YAML would silently take the later one
            raise yaml.YAMLError(f"{dotted} is in line {lines[dotted]} and again in line {line}")
        lines[dotted] = line

    for section, content in root.value if isinstance(root, yaml.MappingNode) else []:
        note(section.value, section)
        for key, _ in content.value if isinstance(content, yaml.MappingNode) else []:
            note(f"{section.value}.{key.value}", key)
    return values, lines


def _resolve(folder: Path, text: str) -> str:
    beside, here = os.path.normpath(folder / text), Path(text)  # the folder itself may be missing
    return os.path.normpath(here) if here.exists() and not Path(beside).exists() else beside


def _explain(path: Path, lines: dict[str, int], overrides: Mapping[str, object], error: ValidationError) -> ConfigError:
    """Turn the first fault that pydantic found into one sentence that blames the file or the override."""
    fault = error.errors()[0]
    dotted = ".".join(str(part) for part in fault["loc"][:2])
    asked = {part for key in overrides for part in (key, key.partition(".")[0])}
    where = f"{path}, line {lines[dotted]}, {dotted}" if dotted in lines else f"{path}, {dotted}"
    where = dotted if dotted in asked and dotted not in lines else where
    if fault["type"] == "extra_forbidden":
        near = _nearest(dotted)
        return ConfigError(where, "unknown key", f"did you mean {near}?" if near else "see notebook 07 for the keys")
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return ConfigError(where, f"{reprlib.repr(fault['input'])} does not fit: {message}", "see notebook 07 for the key")


def _nearest(dotted: str) -> str | None:
    """Return the most similar known section or key: its own section first, then the same key elsewhere."""
    section, _, key = dotted.partition(".")
    near = difflib.get_close_matches(section.upper(), Config.model_fields, n=1)
    if near and not key:
        return near[0]
    key = (key or section).lower()[:100]
    known = sorted((name for name, _, _ in key_table()), key=lambda name: not name.startswith(section + "."))
    alike = [difflib.SequenceMatcher(None, key, name.partition(".")[2]).ratio() for name in known]
    return known[alike.index(max(alike))] if max(alike) >= 0.6 else None
