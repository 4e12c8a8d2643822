"""Strings of code in another language: replaced while they are compiled, by what a gettext catalogue says."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alstm_helpers import language, translation

ROOT = Path(__file__).resolve().parents[1]


def compiled(code, translations):
    """Run code whose strings are translated, and return its variables."""
    tree = translation.Translator(lambda text: translations.get(text, text)).visit(ast.parse(code))
    variables: dict[str, object] = {}
    exec(compile(tree, "x", "exec"), variables)  # noqa: S102 - that is what is tested
    return variables


@pytest.mark.parametrize(
    ("code", "translations", "expected"),
    [
        ("x = 'two words'", {"two words": "两个词"}, "两个词"),
        ("x = 'two words'", {}, "two words"),
        ("n, x = 3, None\nx = f'{n} of {n + 1:.1f}'", {"{n} of {n + 1:.1f}": "{n + 1:.1f} 中的 {n}"}, "4.0 中的 3"),
        ("n = 'a'\nx = f'name {n!r}'", {"name {n!r}": "名字 {n!r}"}, "名字 'a'"),
        ("n = 2\nx = f'{n}% {{}} done'", {"{n}% {{}} done": "完成 {n}% {{}}"}, "完成 2% {}"),
        ("d = {'a': 1}\nx = f\"has {d['a']}\"", {"has {d['a']}": "有 {d['a']}"}, "有 1"),
        ("n = 1.5\nw = 6\nx = f'wide {n:{w}.1f}|'", {"wide {n:{w}.1f}|": "宽 {n:{w}.1f}|"}, "宽    1.5|"),
        ("x = f'{\"inner text\"} outside'", {"inner text": "里面"}, "里面 outside"),
        ("n = 1\nx = f'only {n} here'", {"only {n} here": "只有"}, "只有"),
        ("n = 1\nx = (f'one {n} '\n     'and two')", {"one {n} and two": "一和二 {n}"}, "一和二 1"),
        ("d = {'key': 1}\nx = d['key'], 'key'", {"key": "键"}, (1, "键")),
        ("d = {'two keys': 1}\nx = d['two keys'], [*d]", {"two keys": "两个键"}, (1, ["两个键"])),
        ("x = b'two words'", {"two words": "两个词"}, b"two words"),
    ],
)  # fmt: skip
def test_a_string_is_replaced_with_its_fields(code, translations, expected):
    assert compiled(code, translations)["x"] == expected


def test_a_word_is_replaced_where_it_is_a_label():
    """The same word is a header, the first cell of a row, and a key by which something is looked up."""
    code = "x = Table(['size', f'{1} GB'], [['size', 2]], ['size'][0], alt='size'), 'size'"
    words = {"size": "大小", "{1} GB": "{1} 吉字节"}
    names: dict[str, object] = {"Table": lambda *x, **y: (x, y)}
    translator = translation.Translator(lambda text: text, lambda text: words.get(text, text))
    for text in (code, "y = ['size', 'size']\n" * 50):  # the second cell's nodes may lie where the first one's lay
        exec(compile(translator.visit(ast.parse(text)), "x", "exec"), names)  # noqa: S102
    assert names["x"] == (((["大小", "1 吉字节"], [["大小", 2]], "size"), {"alt": "大小"}), "size")
    assert names["y"] == ["size", "size"] and not translator.labels


def test_a_translation_runs_no_code_of_its_own():
    """A field that the original has not is refused, so a catalogue cannot bring in an expression."""
    with pytest.raises(ValueError, match="is no field of"):
        compiled("n = 1\nx = f'one {n}'", {"one {n}": "{__import__('os').getcwd()}"})


def test_lines_keep_their_numbers():
    tree = translation.Translator(lambda text: "短").visit(ast.parse("a = 1\nx = f'''one\n{a}\nthree'''\nb = missing"))
    with pytest.raises(NameError) as error:
        exec(compile(tree, "x", "exec"), {})  # noqa: S102
    assert error.traceback[-1].lineno + 1 == 5


@pytest.mark.parametrize("text", ["{a", "a}", "{a}}", "{{a}"])
def test_unbalanced_braces_are_refused(text):
    with pytest.raises(ValueError, match="unbalanced"):
        translation.fields(text)


@pytest.mark.parametrize(
    ("variables", "folder", "expected"),
    [
        ({}, "/a", "en"),
        ({"LANG": "C.UTF-8"}, "/a", "en"),
        ({"LANG": "zh_CN.UTF-8"}, "/a", "zh-CN"),
        ({"LANG": "zh-CN"}, "/a", "zh-CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "/a", "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "de_DE"}, "/a", "en"),
        ({"LANG": "zh_CN.UTF-8", "ALSTM_LANG": "en"}, "/a/zh-CN", "en"),
        ({"ALSTM_LANG": "zh-CN"}, "/a", "zh-CN"),
        ({"ALSTM_LANG": "", "LANG": "en_US.UTF-8"}, "/a/zh-CN", "zh-CN"),
        ({"LANG": "en_US.UTF-8"}, "notebooks/zh-CN/01_model.ipynb", "zh-CN"),
        ({"LANG": "en_US.UTF-8"}, "/home/zh-CN-fan/notebooks", "en"),
    ],
)
def test_the_language_is_the_parameter_s_the_folder_s_or_the_system_s(variables, folder, expected):
    assert language.chosen(variables, folder) == expected


def python(code, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**environment, **variables}, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ASK = "from alstm_helpers.config import load_config\ntry: load_config('none.yaml')\nexcept Exception as e: print(e)"


def test_help_has_no_english_words_of_its_parser():
    """click's words, too; what is left are names of commands and options, and file names."""
    code = """
import sys
from alstm_helpers.commands import alstm
for line in ('--help', 'predict --help', 'predict --foo', 'train --epoch x', 'trian', 'convert', 'serve --port 0'):
    try: alstm.main(line.split(), prog_name='alstm', standalone_mode=False)
    except Exception as error: sys.stderr = sys.stdout; error.show()
"""
    said = python(code, ALSTM_LANG="zh-CN", PYTHONUTF8="1")
    assert "用法：" in said and "显示这段帮助并退出" in said and "没有选项 '--foo'" in said and "范围" in said
    assert not re.findall(r"Usage|Options|Commands|[Dd]efault:|Show|Error|Try|Missing|Invalid| is not ", said)
    assert not re.findall(r"OPTIONS|TEXT|INTEGER|integer|: *$", said, re.MULTILINE)


def test_messages_are_in_the_language_of_the_process():
    english, chinese = python(ASK, ALSTM_LANG="en"), python(ASK, ALSTM_LANG="zh-CN", PYTHONUTF8="1")
    assert english != chinese
    assert english.isascii() and "none.yaml" in chinese and not chinese.isascii()
    assert re.search("none.yaml：没有这个文件；请", chinese), "its parts are joined as in Chinese"


def test_english_needs_no_catalogue_and_no_loader():
    code = "import alstm_helpers.config as c; print(type(c.__loader__).__name__)"
    assert python(code, ALSTM_LANG="en") == "SourceFileLoader"
    assert python(code, ALSTM_LANG="zh-CN") == "Loader"
    assert python(code, LANG="zh_CN.UTF-8", ALSTM_LANG="") == "Loader"


def test_processes_that_are_started_speak_the_same_language():
    code = "import alstm_helpers, os; print(os.environ['ALSTM_LANG'])"
    assert python(code, LANG="zh_CN.UTF-8", ALSTM_LANG="") == "zh-CN"


def test_cells_are_translated_in_a_notebook_s_shell():
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "import alstm_helpers\n"
        "shell.ast_transformers[-1].translate = lambda text: {'two words {n}': '两个词 {n}'}.get(text, text)\n"
        "shell.run_cell('n = 1; print(f\"two words {n}\")')"
    )
    assert python(code, ALSTM_LANG="zh-CN", PYTHONUTF8="1") == "两个词 1"
