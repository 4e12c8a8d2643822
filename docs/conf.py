"""Sphinx: the executed course as static pages that need no network. ``tools/site.py`` puts the sources together."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

project = "AttentionLSTM on YouTube-8M"
extensions = ["myst_nb"]
nb_execution_mode = "off"  # they come executed
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
html_math_renderer = "mathml"


def visit_math(translator: Any, node: nodes.math) -> None:
    """MathML, which browsers draw by themselves: MathJax would come from the network."""
    translator.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
