"""Sphinx: the executed course as static pages that need no network. ``tools/site.py`` puts the sources together."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.search import SearchLanguage

from alstm_helpers.course.lab import are_numbers
from alstm_helpers.runtime import paddle  # noqa: F401 - first, and without its two warnings at import

project = "AttentionLSTM on YouTube-8M"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_execution_mode = "off"  # they come executed
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
templates_path = ["templates"]
parts = ("brand", "search", "scroll-start", "navigation", "scroll-end", "variant-selector")
html_sidebars = {"**": [f"sidebar/{name}.html" for name in parts]}
html_sidebars["**"].insert(2, "language.html")  # tools/site.py says which languages there are
html_math_renderer = "mathml"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_use_type_comments = False  # there are none, and to look for them takes seconds
autodoc_typehints_description_target = "documented"
maximum_signature_line_length = 72
napoleon_numpy_docstring = False
napoleon_use_rtype = False
# What docstrings refer to must exist, except in other packages: their pages are on the network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:(class|exc)", r"(?!alstm_helpers\b).*"),
    ("py:class", r"alstm_helpers(\.\w+)*\.(_\w+|Item|\w+T)"),  # private, and type variables
]


def visit_math(translator: Any, node: nodes.math) -> None:
    """MathML, which browsers draw by themselves: MathJax would come from the network."""
    translator.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def skip(app: Any, kind: str, name: str, member: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple: its docstring describes them, Python's own say only their position."""
    return True if (getattr(member, "__doc__", None) or "").startswith("Alias for field number") else None


def align_numbers(app: Any, doctree: nodes.document) -> None:
    """End the columns of a table that hold numbers alone at the right, unless its text says how to align them."""
    for table in doctree.findall(nodes.table):
        rows = [row.children for row in table.findall(nodes.row)]
        for column in zip(*rows, strict=False):
            if are_numbers(cell.astext() for cell in column[1:]):
                for cell in column:
                    cell["classes"] = cell["classes"] or ["text-right"]


class SearchChinese(SearchLanguage):
    """Search for Chinese text: every two characters that follow each other are a word, in pages and in queries.

    Sphinx's own needs a package that cuts text into words; then a query of two words without a space finds nothing.
    """

    lang = "zh"
    language_name = "Chinese"
    js_splitter_code = r"""
var splitQuery = (query) =>
  (query.match(/[\u4e00-\u9fff]+|(?:(?![\u4e00-\u9fff])[\p{Letter}\p{Number}_])+/gu) || []).flatMap((run) =>
    /[\u4e00-\u9fff]{3,}/.test(run) ? [...run].slice(1).map((next, place) => run[place] + next) : [run]);
"""

    def split(self, input: str) -> list[str]:
        """Return the words of a text: pairs of Chinese characters, and runs of other letters."""
        runs = re.findall(r"[\u4e00-\u9fff]+|[^\W\u4e00-\u9fff]+", input)
        return [word for run in runs for word in (map("".join, pairwise(run)) if is_chinese(run) else [run])]

    def stem(self, word: str) -> str:
        """Return the word in lower case, as queries are."""
        return word.lower()


def is_chinese(run: str) -> bool:
    """Return whether a run of characters is Chinese, and more than one."""
    return len(run) > 1 and "\u4e00" <= run[0] <= "\u9fff"


def setup(app: Any) -> None:
    app.add_search_language(SearchChinese)
    app.connect("doctree-read", align_numbers)
    app.connect("autodoc-skip-member", skip)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
