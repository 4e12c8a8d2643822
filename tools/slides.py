"""Slides from an executed notebook: one page that needs neither a network nor a script.

Nothing is tagged by hand. Each heading of the second and third level starts a slide with its first paragraph; exercises
and the recap are shown whole; each figure is a slide of its own. Page Down and Page Up turn the slides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape

from docutils.utils.math.latex2mathml import tex2mathml  # type: ignore[import-untyped]
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode

WHOLE = re.compile(r"# |## (Recap|小结)|### (Exercise|练习)")  # parts that are shown to their end
PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
html {{ scroll-snap-type: y mandatory; font: 2.8vmin/1.4 sans-serif; counter-reset: slide; }}
body {{ margin: 0; color: #222; }}
section {{
  box-sizing: border-box; height: 100vh; overflow: auto; padding: 6vmin 9vmin; position: relative;
  scroll-snap-align: start; border-bottom: 1px solid #ddd; counter-increment: slide;
}}
section::after {{ content: counter(slide); position: absolute; right: 3vmin; top: 3vmin; color: #888; }}
h1, h2, h3 {{ margin: 0 0 0.6em; font-size: 1.7em; line-height: 1.2; color: #0a4bff; }}
img {{ display: block; margin: 0 auto; height: 65vh; max-width: 100%; object-fit: contain; }}
figcaption {{ margin-top: 1em; font-size: 0.8em; color: #555; }}
pre, table {{ font-size: 0.8em; overflow: auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: 0.3em 0.8em; border-bottom: 1px solid #ccc; text-align: left; }}
@media print {{ section {{ break-after: page; overflow: visible; }} }}
</style>
</head>
<body>
{slides}
</body>
</html>
"""


def deck(notebook: NotebookNode, language: str = "en") -> str:
    """Return the slides of an executed notebook as one page of HTML."""
    slides = "\n".join(f"<section>\n{slide}\n</section>" for slide in slides_of(notebook))
    title = notebook.cells[0].source.partition("\n")[0].lstrip("# ")
    return PAGE.format(language=language, title=escape(title), slides=slides)


def slides_of(notebook: NotebookNode) -> Iterator[str]:
    """Yield the HTML of each slide."""
    render, heading = markdown(), ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for part in re.split(r"^(?=#{2,3} )", cell.source, flags=re.MULTILINE):
                if part.startswith("#"):
                    heading = part.partition("\n")[0]
                    yield render.render(without_links(shown(part)))
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png:
                alt = escape(output.get("metadata", {}).get("image/png", {}).get("alt", ""), quote=True)
                picture = f'<img src="data:image/png;base64,{"".join(png.split())}" alt="{alt}">'
                yield f"{render.render(heading)}<figure>{picture}<figcaption>{alt}</figcaption></figure>"


def shown(part: str) -> str:
    """Return what a slide shows of a part: its heading and first paragraph, with a list or table that it announces."""
    blocks = part.strip().split("\n\n")
    if WHOLE.match(part):
        return "\n\n".join(blocks)
    return "\n\n".join(blocks[: 3 if len(blocks) > 1 and blocks[1].endswith((":", "：")) else 2])


def without_links(text: str) -> str:
    """Return a text without pictures, and with the words of links in their place."""
    return re.sub(r"(!?)\[([^\]]*)\]\((<[^>]*>|[^)]*)\)", lambda link: "" if link[1] else link[2], text)


def markdown() -> MarkdownIt:
    """Return what makes HTML of Markdown, with MathML, which browsers draw by themselves."""

    def formula(text: str, options: Mapping[str, bool]) -> str:
        return str(tex2mathml(text, as_block=options["display_mode"]))

    return MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=formula)
