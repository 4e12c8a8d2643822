"""Translations that take the place of English strings while code is compiled.

The code of the course holds plain English strings and f-strings. Where another language is chosen, the strings of a
module, and those of a notebook's cells, are looked up in a gettext catalogue as they are compiled, and replaced there.
So cells are the same in every language, and f-strings need no call around them. A catalogue is keyed by the text of a
string with its replacement fields, such as ``"{count} videos in {seconds:.1f} s"``; a translation may order the fields
as it needs, and can hold no other expressions than those of its original.

The catalogues are made by ``tools/i18n.py`` from ``i18n/`` and lie in ``locale/`` beside this file.
"""

from __future__ import annotations

import ast
import gettext
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType

CELLS = "cells"  # the context of the strings of all notebooks' cells; that of a module's is the module's name
LABELS = " labels"  # ends the context of those strings that are translated only where they are labels
# Calls whose arguments are labels, and arguments that are.
SHOWING = {"print", "Table", "set_title", "set_xlabel", "set_ylabel", "suptitle", "text", "annotate", "set", "legend"}
LABELLING = {"title", "xlabel", "ylabel", "label", "labels", "alt", "name", "names"}
DOMAIN = "alstm_helpers"
PACKAGE = Path(__file__).parent
Translate = Callable[[str], str]


# --- Strings of code ----------------------------------------------------------------------------------------------


def template(node: ast.expr) -> str:
    """Return the text of a string; of an f-string with its replacement fields, as ``ast.unparse`` writes them."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr)
    return "".join(_field(part) if isinstance(part, ast.FormattedValue) else _literal(part) for part in node.values)


def _literal(node: ast.expr) -> str:
    return template(node).replace("{", "{{").replace("}", "}}")


def _field(node: ast.FormattedValue) -> str:
    conversion = f"!{chr(node.conversion)}" if node.conversion > 0 else ""
    spec = f":{template(node.format_spec)}" if node.format_spec is not None else ""
    return f"{{{ast.unparse(node.value)}{conversion}{spec}}}"


def fields(text: str) -> list[tuple[int, int]]:
    """Return where the replacement fields of a template begin and end, braces included.

    Raises:
        ValueError: a brace is missing.
    """
    found, depth, start, place = [], 0, 0, 0
    while place < len(text):
        if depth == 0 and text[place : place + 2] in ("{{", "}}"):
            place += 2
            continue
        if text[place] == "{":
            start, depth = (place, 1) if depth == 0 else (start, depth + 1)
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                found.append((start, place + 1))
        if depth < 0:
            break
        place += 1
    if depth:
        raise ValueError(f"unbalanced braces in {text!r}")
    return found


def translated(node: ast.JoinedStr, text: str) -> ast.JoinedStr:
    """Return an f-string with the text of a translation and its own replacement fields, in the translation's order.

    Raises:
        ValueError: the translation has a field that the f-string has not.
    """
    own = {_field(part): part for part in node.values if isinstance(part, ast.FormattedValue)}
    parts: list[ast.expr] = []
    end = 0
    for start, stop in [*fields(text), (len(text), len(text))]:
        if start > end:
            plain = text[end:start].replace("{{", "{").replace("}}", "}")
            parts.append(ast.copy_location(ast.Constant(plain), node))
        if stop > start:
            if text[start:stop] not in own:
                raise ValueError(f"{text[start:stop]} is no field of {template(node)!r}")
            parts.append(own[text[start:stop]])
        end = stop
    return ast.copy_location(ast.JoinedStr(parts), node)


def labels(call: ast.Call) -> Iterator[ast.expr]:
    """Give the arguments of a call that a reader sees as they are, such as the header of a table."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    arguments = list(call.args) if name in SHOWING else []
    arguments += [part.value for part in call.keywords if part.arg in LABELLING]
    while arguments:
        argument = arguments.pop()
        if isinstance(argument, ast.List | ast.Tuple):  # a header, or rows
            arguments += argument.elts
        elif isinstance(argument, ast.IfExp):
            arguments += [argument.body, argument.orelse]
        else:
            yield argument


class Translator(ast.NodeTransformer):
    """Replace the strings of a tree that have a translation; never those that are keys, such as ``label["score"]``.

    A key of several words is replaced, since it may be shown: all that have its text are. A word such as ``bytes`` may
    be the header of a table here and a key there: it is replaced where it is a label.

    Args:
        translate: returns the translation of a template, or the template itself.
        label: the same for labels; what it leaves, ``translate`` gets.
    """

    def __init__(self, translate: Translate, label: Translate = lambda text: text) -> None:
        self.translate, self.label = translate, label
        self.labels: set[int] = set()

    def visit_Module(self, node: ast.Module) -> ast.Module:
        """Forget the labels of other trees, whose numbers new nodes may get."""
        self.labels.clear()
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Remember its labels."""
        self.labels |= {id(label) for label in labels(node)}
        self.generic_visit(node)
        return node

    def _of(self, node: ast.expr) -> str:
        text = template(node)
        found = self.label(text) if id(node) in self.labels else text
        return self.translate(text) if found == text else found

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Leave the key alone."""
        if not _is_key(node.slice):
            node.slice = self.visit(node.slice)
        node.value = self.visit(node.value)
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.expr:
        """Leave the keys alone."""
        node.keys = [key if key is None or _is_key(key) else self.visit(key) for key in node.keys]
        node.values = [self.visit(value) for value in node.values]
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        """Replace a string."""
        if not isinstance(node.value, str):
            return node
        return ast.copy_location(ast.Constant(self._of(node)), node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        """Replace an f-string, or what is inside its fields."""
        found = self._of(node)
        if found != template(node):
            node = translated(node, found)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                part.value = self.visit(part.value)
        return node


def _is_key(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()


# --- The catalogue of a language ----------------------------------------------------------------------------------


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """Return the compiled catalogue of a language; an empty one for English, and where there is none."""
    return gettext.translation(DOMAIN, PACKAGE / "locale", [language.replace("-", "_")], fallback=True)


def translate_in(language: str, context: str) -> Translate:
    """Return what translates the strings of one context."""
    found = catalogue(language)
    return lambda text: found.pgettext(context, text) if text.strip() else text


def translator(language: str, context: str) -> Translator:
    """Return what replaces the strings of one context."""
    return Translator(translate_in(language, context), translate_in(language, context + LABELS))


class Loader(importlib.machinery.SourceFileLoader):
    """Load a module with its strings translated; bytecode is neither read nor written, it is English.

    Args:
        fullname, path: of the module.
        language: that its strings get.
    """

    def __init__(self, fullname: str, path: str, language: str) -> None:
        super().__init__(fullname, path)
        self.language = language

    def get_code(self, fullname: str) -> CodeType:
        """Compile the module's source."""
        path = self.get_filename(fullname)
        tree = translator(self.language, fullname).visit(ast.parse(self.get_data(path), filename=path))
        return compile(tree, path, "exec", dont_inherit=True)


class Finder(importlib.abc.MetaPathFinder):
    """Find those modules of the package that have translations into a language."""

    def __init__(self, language: str, modules: Collection[str]) -> None:
        self.language, self.modules = language, frozenset(modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's specification with a loader that translates; None for every other module."""
        if fullname not in self.modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(fullname, spec.origin, self.language)
        return spec


def contexts(language: str) -> frozenset[str]:
    """Return the contexts that a language's catalogue has: names of modules, and ``CELLS``."""
    found = getattr(catalogue(language), "_catalog", {})
    keys = (key.split("\x04")[0] for key in found if isinstance(key, str) and "\x04" in key)
    return frozenset(key.removesuffix(LABELS) for key in keys)


def install(language: str) -> None:
    """Translate the modules that are imported from now on, and a notebook's cells; a second call changes nothing."""
    known = contexts(language)
    if not known or any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Finder(language, known - {CELLS}))
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        shell.ast_transformers.append(translator(language, CELLS))
