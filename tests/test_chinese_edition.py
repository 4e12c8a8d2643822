"""The Chinese edition: complete, made from its catalogues, and without a word of English where none belongs."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import nbformat
import pytest
import yaml
from babel.messages.catalog import Catalog
from IPython.core.inputtransformer2 import TransformerManager

from alstm_helpers.figures.plots import CJK_FILE
from alstm_helpers.language import CHINESE
from alstm_helpers.translation import CELLS, template, translate_in
from tools import i18n, i18n_checks

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TERMS = yaml.safe_load((ROOT / "docs" / "glossary.yml").read_text(encoding="utf-8"))


@pytest.mark.no_cover
def test_nothing_is_missing_changed_orphaned_or_wrong():
    assert [*i18n.problems(), *i18n.conflicts()] == []


def test_files_are_as_rendered():
    assert list(i18n.stale()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_is_the_same_in_every_byte(path):
    english, chinese = (nbformat.read(place, as_version=4).cells for place in (path, path.parent / CHINESE / path.name))
    assert [(cell.id, cell.cell_type) for cell in english] == [(cell.id, cell.cell_type) for cell in chinese]
    assert [cell.source for cell in english if cell.cell_type == "code"] == [
        cell.source for cell in chinese if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("name", ["README", "data/README", *(f"docs/{name}" for name in ("index", "workshop"))])
def test_tables_have_the_numbers_of_the_english_ones(name):
    """Generated tables, too: of a notebook's rows in several tables each has its own minutes."""
    folder, _, stem = name.rpartition("/")
    chinese = f"docs/zh-CN/{stem}.md" if folder == "docs" else f"{name}.zh-CN.md"
    documents = [(ROOT / path).read_text("utf-8").splitlines() for path in (f"{name}.md", chinese)]
    rows = ([line for line in lines if line.startswith("|")] for lines in documents)
    for one, other in zip(*rows, strict=True):
        assert not [fault for fault in i18n_checks.faults(one, other, prose=True) if fault.startswith("numbers")], other


# --- It cannot drift ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("english", "chinese", "fault"),
    [
        ("It takes 8 epochs.", "要训练 8 轮。", ""),
        ("It takes 8 epochs.", "要训练 9 轮。", "numbers differ"),
        ("1,024 and 0.5 numbers", "1024 和 0.5", ""),
        ("Run `alstm train`.", "运行 `alstm eval`。", "code spans differ"),
        ("See [this](a.md).", "见 [这里](b.md)。", "links differ"),
        ("See ![a picture](a.png).", "见图。", "links differ"),
        ("Take $a + b$.", "取 $a - b$。", "formulas differ"),
        ("# A title", "## 标题", "headings differ"),
        ("```\nx = 1\n```\nText", "```\nx = 2\n```\n文字", "blocks of code differ"),
        ("```bash\nrun x  # for 8 cards\n```", "```bash\nrun x  # 用于 8 张卡\n```", ""),
        ("```bash\nrun x  # for 8 cards\n```", "```bash\nrun x  # 用于 4 张卡\n```", "blocks of code differ"),
        ("```bash\nrun x  # for 8 cards\n```", "```bash\nrun y  # 用于 8 张卡\n```", "blocks of code differ"),
        ("```bash\nrun x  # for 8 cards\n```", "```bash\nrun x  # 用于8张卡\n```", "spacing"),
        ("```text\na list, 3 long\n```", "```text\n列表，长 3\n```", ""),
        ("```text\na list, 3 long\n```", "```text\n列表，长 4\n```", "blocks of code differ"),
        ("| a | b |\n|---|---|\n| c | d |", "| 甲 | 乙 |\n|---|---|", "rows of tables differ"),
        ("<details>\n\na\n\n</details>", "详情", "HTML tags differ"),
        ("The gradient is small.", "坡度很小。", "the term 'gradient'"),
        ("The gradient is small.", "梯度很小。", ""),
        ("Attention and dropout help.", "注意力和 dropout 有用。", ""),
        ("Well, yes.", "好,是的。", "half-width punctuation"),
        ("Well (yes).", "好(是的)。", "half-width punctuation"),
        ("Use Paddle.", "用Paddle。", "spacing"),
        ("Use `x` here.", "这里用`x`。", "no space"),
        ("Well, yes.", "好， 是的。", "a space too many"),
        ("This is a whole sentence of English.", "This is a whole sentence of English.", "still in English"),
        ("Words.", "", "not translated"),
    ],
)
def test_a_translation_shares_what_it_must(english, chinese, fault):
    found = list(i18n_checks.faults(english, chinese, TERMS, prose=True))
    assert any(fault in text for text in found) if fault else found == []


@pytest.mark.parametrize(
    ("english", "chinese", "fault"),
    [
        ("{n} of {m} read", "{m} 中读了 {n}", ""),
        ("{n} of {m} read", "读了 {n}", "replacement fields differ"),
        ("{n:.2f} read", "读了 {n:.1f}", "replacement fields differ"),
        ("read\n", "读了", "line breaks at the ends differ"),
        ("TRAIN:\n  epoch: 3\n", "TRAIN:\n  epoch: 3\n", ""),
        ("at least 10 clips", "至少 12 个片段", "numbers or names are lost: ['10']"),
        ("at least 10 of {n:,.3f} clips", "{n:,.3f} 个片段中至少 10 个", ""),
        ("1000 times too small", "小到 1/1000", ""),
        ("pass --weights", "请用 --weight", "numbers or names are lost: ['--weights']"),
        ("write it to train.list", "写入 val.list", "numbers or names are lost: ['train.list']"),
        ("set MODEL.num_classes", "请设置 MODEL.classes", "numbers or names are lost: ['MODEL.num_classes']"),
        ("the gradient is small", "坡度很小", "the term 'gradient'"),
    ],
)
def test_a_string_shares_what_it_must(english, chinese, fault):
    found = list(i18n_checks.faults(english, chinese, TERMS, prose=False))
    assert any(fault in text for text in found) if fault else found == []


@pytest.fixture
def one_cell(monkeypatch, tmp_path):
    """A course of one cell with a translation; returns what the course is now, to be changed."""
    monkeypatch.setattr(i18n, "CATALOGUES", tmp_path)
    texts = {"01_x": [i18n.Text("a", "Two words.", "prose"), i18n.Text("b", "{n} of {m} read", "string")]}
    catalogue = Catalog(locale="zh_CN")
    catalogue.add("Two words.", "两个词。", context="a")
    catalogue.add("{n} of {m} read", "{m} 中读了 {n}", context="b")
    i18n.save("01_x", catalogue)
    monkeypatch.setattr(i18n, "sources", lambda: texts)
    assert list(i18n.problems()) == []
    return texts


def updated(texts):
    for name, found in texts.items():
        i18n.save(name, i18n.update(name, found))
    return list(i18n.problems())


def test_a_changed_cell_is_fuzzy_until_somebody_has_looked(one_cell):
    one_cell["01_x"][0] = i18n.Text("a", "Three words.", "prose")
    assert [text.split(": ")[2] for text in i18n.problems()] == ["orphaned", "missing"]
    assert ["fuzzy" in text for text in updated(one_cell)] == [True]
    message = i18n.load("01_x").get("Three words.", "a")
    assert message is not None and message.string == "两个词。"
    assert i18n.translation(i18n.load("01_x"), "a", "Three words.") == "Three words."  # not shown before
    assert ["fuzzy" in text for text in updated(one_cell)] == [True]  # also after a second update


def test_a_changed_string_of_code_is_fuzzy_a_new_one_missing_and_an_old_one_gone(one_cell):
    one_cell["01_x"] = [i18n.Text("b", "{n} of {m} were read", "string"), i18n.Text("b", "Other thing", "string")]
    found = updated(one_cell)
    assert sorted("fuzzy" in text for text in found) == [False, True] and "not translated" in "".join(found)
    assert {message.id for message in i18n.load("01_x") if message.id} == {"{n} of {m} were read", "Other thing"}


def test_what_is_translated_of_click_is_there():
    for module, texts in i18n.CLICK.items():
        path = importlib.import_module(f"click.{module}").__file__
        assert path is not None
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
        strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr))
        assert set(texts) <= set(map(template, strings))


def test_an_update_of_nothing_changes_no_byte(one_cell):
    updated(one_cell)
    before = i18n.path_of("01_x").read_bytes()
    updated(one_cell)
    assert i18n.path_of("01_x").read_bytes() == before


def test_the_catalogue_of_a_notebook_that_is_gone(one_cell):
    one_cell["02_y"] = one_cell.pop("01_x")
    assert "01_x.po: orphaned" in next(i18n.problems())


def test_a_string_has_one_translation_in_all_cells(one_cell):
    one_cell["02_y"] = [i18n.Text("c", "{n} of {m} read", "string")]
    catalogue = Catalog(locale="zh_CN")
    catalogue.add("{n} of {m} read", "{n}／{m}", context="c")
    i18n.save("02_y", catalogue)
    assert [text.split(":")[0] for text in i18n.conflicts()] == ["02_y"]


def test_a_name_by_which_results_are_looked_up_is_kept(one_cell):
    one_cell["01_x"].append(i18n.Text("c", "batch 8", "string"))
    catalogue = i18n.load("01_x")
    catalogue.add("batch 8", "批大小 8", context="c")
    i18n.save("01_x", catalogue)
    assert ["docs/evidence" in text for text in i18n.conflicts()] == [True]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_word_of_a_command_is_translated(path):
    """A string that is shown in one cell is a value of a flag in another: ``--audio none`` became ``--audio 没有``."""
    translate = translate_in(CHINESE, CELLS)
    for cell in nbformat.read(path, as_version=4).cells:
        code = TransformerManager().transform_cell(cell.source) if cell.cell_type == "code" else ""
        for words in map(_words_of_a_command, ast.walk(ast.parse(code))):
            assert [translate(word) for word in words] == words, cell.id


def _words_of_a_command(node):
    """Return the strings of a list, a tuple, or a call, if one of them is a flag or the call runs a command."""
    is_call, is_row = isinstance(node, ast.Call), isinstance(node, ast.List | ast.Tuple)
    parts = node.args if is_call else node.elts if is_row else []
    runs = is_call and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("alstm", "run")
    words = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    words = [word for word in words if " " not in word]  # a text beside a flag is shown
    return words if runs or any(word.startswith("-") for word in words) else []


def test_links_lead_to_the_chinese_document_section_and_notebook():
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / f"README.{CHINESE}.md",)}
    for path, text in texts.items():
        for link in re.findall(r"\]\((<[^>]*>|[^)\s]+)\)", text):
            place, _, anchor = link.strip("<>").partition("#")
            if not re.match(r"[a-z]+:", place):
                target = path.parent / place if place else path
                assert target.exists(), link
                if anchor and target.suffix == ".ipynb":
                    cells = json.loads(target.read_text(encoding="utf-8"))["cells"]
                    headings = [
                        heading.replace(" ", "-")
                        for cell in cells
                        for heading in re.findall("^#+ (.*)$", "".join(cell["source"]), re.MULTILINE)
                    ]
                    assert anchor in headings, link


# --- What learners see --------------------------------------------------------------------------------------------


def test_every_character_has_a_glyph():
    """In the font that comes along, or in Matplotlib's own; of all translations, as any may be drawn."""
    from fontTools.ttLib import TTFont
    from matplotlib.font_manager import findfont

    known = set(TTFont(CJK_FILE).getBestCmap()) | set(TTFont(findfont("DejaVu Sans")).getBestCmap())
    drawn = {character for _, _, chinese, _ in i18n.strings() for character in chinese}
    assert {character for character in drawn if character.isprintable() and ord(character) not in known} == set()


# Checks the typical wrong answers that need no notebook; prints how many, and those that get another message.
WRONG_ANSWERS = """
import json, re
from alstm_helpers.runtime import paddle
from alstm_helpers.course.exercises import CHAPTERS, exercises_of
from alstm_helpers.course.exercises.core import Notebook

tried, wrong = 0, []
for exercise in (exercise for chapter in CHAPTERS for exercise in exercises_of(chapter)):
    for make, message in exercise.mistakes:
        try:
            answer = make(Notebook({}))
        except Exception:
            continue
        why = exercise.check(answer, {}).why
        if NEEDS_NOTEBOOK in why:
            continue
        tried += 1
        if not re.fullmatch(".*".join(map(re.escape, message.split("…"))), why):
            wrong.append([exercise.name, message, why])
print(json.dumps([tried, wrong]))
"""


def test_wrong_answers_get_their_message_in_chinese():
    """Judges glue messages together, so a message and its parts must fit in Chinese, too."""
    needs = i18n.load("alstm_helpers.course").get(
        "`{name}` does not exist yet; run the cells above first", "alstm_helpers.course.exercises.core"
    )
    assert needs is not None
    code = WRONG_ANSWERS.replace("NEEDS_NOTEBOOK", repr(str(needs.string).split("}")[-1]))
    environment = {**os.environ, "ALSTM_LANG": CHINESE, "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    tried, wrong = json.loads(done.stdout.splitlines()[-1])
    assert wrong == [] and tried > 80


COURSE = os.environ.get("ALSTM_CHINESE_COURSE")
# Five English words in a row; names, code and logs are taken out before.
SENTENCE = re.compile(r"(?<![\w./-])(?:[A-Za-z][a-z’']*[ ,]+){4,}[A-Za-z][a-z’']+(?![\w/])")


# What is neither ours nor a sentence: messages of libraries, names of people, classes and keys.
NOT_OURS = re.compile(
    "Let's start deep learning with|File is not a zip file|Invalid data found when processing|[Ii]nput should be|"
    "while parsing a flow|got an unexpected keyword argument|"
    "Your browser does not support|danielbuechele|Made up, with a comma|b'video' b'feature'|"
    "progress +seed, epoch|cat +dog +car"
)


def shown(cell):
    """Give the texts that a cell shows, without code."""
    if cell.cell_type == "markdown":
        yield re.sub(r"```.*?```|`[^`]+`|\]\([^)]*\)", " ", cell.source, flags=re.DOTALL)
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        texts = [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
        for text in texts:
            yield unescape(re.sub(r"<[^>]+>|`[^`]+`", "\n", "".join(text)))


@pytest.mark.skipif(COURSE is None, reason="CI sets ALSTM_CHINESE_COURSE")
@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_no_english_sentence_is_left(name):
    assert COURSE is not None
    notebook = nbformat.read(Path(COURSE, f"{name}.ipynb"), as_version=4)
    found = [
        (cell.id, match[0])
        for cell in notebook.cells
        for text in shown(cell)
        for match in SENTENCE.finditer(text)
        if not NOT_OURS.search(match[0])
    ]
    assert found == []
