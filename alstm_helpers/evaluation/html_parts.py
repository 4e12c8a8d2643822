"""Parts of a page that needs nothing beside it: its frame and style, tables, and a picture of a curve."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from alstm_helpers.errors import one_line

# Nothing is loaded and nothing runs, whatever a name or an id in the page may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5b6470; --line: #d5dae1; --paper: #fff; --card: #f5f7f9;
  --blue: #0072b2; --orange: #c04f00; --fill: 0 114 178; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a3acb8; --line: #3a414a; --paper: #15181c;
  --card: #1f2328; --blue: #56b4e9; --orange: #f0a35e; --fill: 30 120 190; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; } p { margin: .4rem 0; max-width: 46rem; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; margin: .6rem 0; } .scroll:focus-visible { outline: 2px solid var(--blue); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; overflow-wrap: normal; }
.scroll tbody th { position: sticky; left: 0; background: var(--paper); }
th { font-weight: 600; } th:first-child, td.text { text-align: left; } td { white-space: nowrap; }
.matrix td { text-align: center; min-width: 2.2rem; border: 1px solid var(--line); padding: .25rem;
  background: rgb(var(--fill) / calc(.75 * var(--share, 0))); }
.matrix td.none { color: var(--soft); }
.matrix thead th { vertical-align: bottom; text-align: center; padding: .25rem; }
.matrix thead th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 11rem; }
.bar { display: block; width: 9rem; height: 1rem; } .bar line { stroke: var(--line); }
.bar .range { stroke: var(--blue); stroke-width: 2; } .bar circle { fill: var(--blue); }
.clips { list-style: none; padding: 0; display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.clips li { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .7rem; }
.clips p { margin: 0; } .strip { display: flex; gap: .25rem; margin-bottom: .5rem; }
.strip img { width: calc(25% - .19rem); max-width: 6rem; height: auto; border-radius: .2rem; }
.curve { width: 100%; max-width: 26rem; height: auto; color: var(--ink); } .curve text { font-size: 11px;
  fill: currentColor; } .curve .axis { stroke: var(--line); fill: none; } .curve polyline { fill: none; }
.curve polyline.before { stroke: var(--orange); stroke-dasharray: 5 3; } .curve polyline.after { stroke: var(--blue); }
.curve circle { fill-opacity: .6; }
.curve circle.before { fill: var(--orange); } .curve circle.after { fill: var(--blue); }
"""


def text(value: object) -> str:
    """Return a text for HTML; what could steer a terminal or hide is spelt out."""
    return escape(one_line(str(value)))


def document(title: str, sections: Iterable[str]) -> str:
    """Return the page: its title as the heading, and below it sections of HTML."""
    body = "\n".join(sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{text(title)}</h1>
{body}
</main>
</body>
</html>
"""


def section(title: str, *parts: str) -> str:
    """Return a section with a heading."""
    inside = "\n".join(parts)
    return f"<section>\n<h2>{text(title)}</h2>\n{inside}\n</section>"


def paragraph(content: str) -> str:
    """Return a paragraph of plain text, in which `backticks` mark code."""
    marked = re.sub("`([^`]+)`", r"<code>\1</code>", text(content))
    return f"<p>{marked}</p>"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """Return a table that scrolls sideways where there is no room.

    Args:
        caption: plain text.
        head: of the columns, HTML.
        rows: cells, HTML; the first of each names the row, others may be whole ``<td>`` elements.
        kind: class of the table.
    """
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "\n".join(_row(row) for row in rows)
    frame = f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}">'
    return (
        f'{frame}<table class="{kind}"><caption>{text(caption)}</caption>\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _row(row: Sequence[str]) -> str:
    name, *cells = row
    inside = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{name}</th>{inside}</tr>'


def bar(value: float, low: float, high: float) -> str:
    """Return a value in [0, 1] as a dot on its interval, for eyes alone: the numbers stand beside it."""
    return (
        '<svg class="bar" viewBox="-4 0 108 10" aria-hidden="true"><line x1="0" x2="100" y1="5" y2="5"/>'
        f'<line class="range" x1="{100 * low:.1f}" x2="{100 * high:.1f}" y1="5" y2="5"/>'
        f'<circle cx="{100 * value:.1f}" cy="5" r="3"/></svg>'
    )


def jpeg(content: bytes, alt: str) -> str:
    """Return a picture that is part of the page."""
    return f'<img src="data:image/jpeg;base64,{b64encode(content).decode()}" alt="{text(alt)}" width="96" height="96">'


def curves(lines: Mapping[str, Sequence[tuple[float, float, float]]], xlabel: str, ylabel: str, alt: str) -> str:
    """Return points (x, y) in [0, 1] × [0, 1], joined, and the diagonal.

    Args:
        lines: points of each line: x, y, and a weight in [0, 1], which is the area of its dot. The key is the line's
            class, ``before`` or ``after``.
        xlabel, ylabel: of the axes.
        alt: what is seen, in words.
    """
    drawn = ""
    for kind, points in lines.items():
        places = [(40 + 240 * x, 250 - 240 * y, 1.5 + 9 * weight**0.5) for x, y, weight in points]
        drawn += f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)}"/>'
        drawn += "".join(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>' for x, y, r in places)
    ticks = "".join(
        f'<text x="{40 + 240 * at:.0f}" y="265" text-anchor="middle">{at:g}</text>'
        f'<text x="34" y="{254 - 240 * at:.0f}" text-anchor="end">{at:g}</text>'
        for at in (0, 0.5, 1)
    )
    return (
        f'<svg class="curve" viewBox="0 0 300 290" role="img" aria-label="{text(alt)}">'
        f'<path class="axis" d="M40 10V250H280M40 250L280 10"/>{ticks}'
        f'<text x="160" y="284" text-anchor="middle">{text(xlabel)}</text>'
        f'<text transform="translate(12 130) rotate(-90)" text-anchor="middle">{text(ylabel)}</text>{drawn}</svg>'
    )
