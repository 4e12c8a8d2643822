"""Make the course a static site: executed notebooks, glossary and workshop as pages that open from the file system.

    python tools/site.py build/course build/site     # the site
    python tools/site.py build/course build/site build/course-zh-CN     # in two languages, the Chinese in site/zh-CN
    python tools/site.py --tables                    # the tables in docs/, the README's row of services and speeds

The first folder holds executed notebooks, as ``make course`` leaves them; the second gets the site. Sphinx with MyST-NB
makes the pages, with navigation and search; a warning from it, such as a link that leads nowhere, is an error. Pages
on the package are made from its docstrings.

The tables are in docs/ between comments, so that the files read well on a code host; with them, the glossary gets the
notebook that uses each term first. There they have the seconds of
docs/measured.json and link to the notebooks; in the site they have those of its own course run. The row of services
that open a notebook is also in the README and on each notebook's page. The README's table of speeds is made from the
files of docs/speed, each written by ``alstm bench --json`` on one machine.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml

from alstm_helpers.course import doors
from alstm_helpers.course.canonical import reading_minutes
from alstm_helpers.language import CHINESE, ENGLISH
from tools import i18n, slides

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "alstm_helpers"
PYPROJECT = ROOT / "pyproject.toml"
# Half a day: notebooks, and the sections of each that are read besides its opening; none: all of them.
HALF_DAY: dict[str, tuple[str, ...]] = {
    "01_model": (),
    "03_data": ("A record, byte by byte", "Format conversion (3.2)", "Data split (3.3)"),
    "04_training": ("Start training (4.2)", "Resume (4.5)"),
    "05_evaluation": ("Metrics (5.3)", "Which numbers compare (5.3)"),
}
# The README's rows of speeds: a ratio of `alstm bench`, and what it compares.
SPEEDS = {
    "full_4_per_shipped": ("full_4", "padded_4_shipped"),
    "full_16_per_shipped": ("full_16", "padded_16_shipped"),
    "full_16_per_tuned": ("full_16", "padded_16_tuned"),
    **{
        f"{ratio}{end}": (f"{ours}{end}", f"{theirs}{end}")
        for end in ("", "_one_thread")
        for ratio, ours, theirs in (
            ("train_per_pytorch", "train", "pytorch"),
            ("train_per_padded", "train", "pytorch_padded"),
            ("grouped_per_padded", "train_grouped", "pytorch_padded"),
        )
    },
}
AT_HOME = ("_appendix", "_capstone")  # how the names of notebooks end that are in no timetable
STRETCH, BREAK = 90, 15  # minutes: the longest stretch without a break, and a break


class About(NamedTuple):
    """What a page says of a notebook.

    Args:
        title: its heading.
        minutes: to read it, from its metadata.
        seconds: that it took in a run; None where there was none.
        sections: minutes to read each section of the second level, and under "" what comes before the first one.
    """

    title: str
    minutes: int
    seconds: float | None
    sections: Mapping[str, float] = {}

    def total(self, *sections: str) -> int:
        """Return the minutes of reading and of the machine; of some sections with the opening their share of both."""
        total = self.minutes + (self.seconds or 0) / 60
        if sections:
            total *= sum(self.sections[name] for name in ("", *sections)) / sum(self.sections.values())
        return round(total)


def page(executed: Path, address: str = "", folder: str = "") -> nbformat.NotebookNode:
    """Return an executed notebook as a page: without the run's parameters, its figures described as Sphinx wants it.

    Args:
        executed: the notebook.
        address: of the repository; links to services that open the notebook follow its title.
        folder: of the notebook below that of all notebooks, such as ``zh-CN/``.
    """
    notebook = nbformat.read(executed, as_version=4)
    links = doors.row(address, f"{folder}{executed.stem}", "doors.md")
    row = f'{links} <a href="slides/{executed.stem}.html">{"幻灯片" if folder else "Slides"}</a>'
    title, _, rest = notebook.cells[0].source.partition("\n")
    notebook.cells[0].source = f"{title}\n\n```{{container}} doors\n{row.replace(' · ', ' ').strip()}\n```\n{rest}"
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = links_inside_the_site(cell.source)
        for output in cell.get("outputs", []):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
    return notebook


def links_inside_the_site(text: str) -> str:
    """Point links to other notebooks and to the glossary at their pages; turn those to other files into plain text."""
    text = re.sub(r"\]\((?:\.\./)+docs/glossary\.yml\)", "](glossary.md)", text)
    text = re.sub(r"\[([^\]]+)\]\(<?\.\./[^)]*\)", r"\1", text)
    return re.sub(r"(\]\(<?\d\d_\w+\.ipynb)#[^)>]*", r"\1", text)


def read_seconds(summary: Path) -> dict[str, float]:
    """Return the seconds of each notebook from a course's summary; none if the file does not exist."""
    rows = json.loads(summary.read_text(encoding="utf-8"))["notebooks"] if summary.exists() else []
    return {row["name"]: row["seconds"] for row in rows}


def read_about(notebooks: Iterable[Path], seconds: Mapping[str, float]) -> dict[str, About]:
    """Return what the pages say of each notebook, by its name."""
    about = {}
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        told, sections = notebook.metadata.get("alstm", {}), minutes_by_section(notebook)
        about[path.stem] = About(told.get("title", path.stem), told.get("minutes", 0), seconds.get(path.stem), sections)
    return about


def minutes_by_section(notebook: nbformat.NotebookNode) -> dict[str, float]:
    """Return the minutes to read each section of the second level, and under "" what comes before the first one."""
    found, section = {"": 0.0}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            section = next((line[3:].strip() for line in cell.source.splitlines() if line.startswith("## ")), section)
        found[section] = found.get(section, 0.0) + reading_minutes([cell])
    return found


def timetable(parts: Sequence[tuple[str, int, str]]) -> str:
    """Return the rows of a timetable that starts at 0:00, with breaks, from (title, minutes, remark)."""
    rows, clock, stretch = ["| from | | minutes | |", "|---:|---|---:|---|"], 0, 0
    for title, minutes, remark in parts:
        if stretch and stretch + minutes > STRETCH:
            rows.append(f"| {clock // 60}:{clock % 60:02d} | break | {BREAK} | |")
            clock, stretch = clock + BREAK, 0
        rows.append(f"| {clock // 60}:{clock % 60:02d} | {title} | {minutes} | {remark} |")
        clock, stretch = clock + minutes, stretch + minutes
    rows.append(f"| {clock // 60}:{clock % 60:02d} | end | | |")
    return "\n".join(rows)


def tables(about: Mapping[str, About], folder: str) -> dict[str, str]:
    """Return the tables of docs/ by the name in their comments; links lead to the notebooks in ``folder``."""
    links = {name: f"[{name}]({folder}{name}.ipynb)" for name in about}
    rows = ["| notebook | minutes to read | seconds of the machine |", "|---|---:|---:|"]
    for name, told in about.items():
        took = "" if told.seconds is None else f"{told.seconds:.0f}"
        rows.append(f"| [{told.title}]({folder}{name}.ipynb) | {told.minutes or ''} | {took} |")
    half = [(links[name], about[name].total(*part), only(part)) for name, part in HALF_DAY.items() if name in about]
    whole = [(links[name], told.total(), "") for name, told in about.items() if not name.endswith(AT_HOME)]
    at_home = {name: told for name, told in about.items() if name.endswith(AT_HOME)}
    apart = [f"{links[name]} ({told.total()} minutes to read and run)" for name, told in at_home.items()]
    note = f"\n\nNot in the timetable, homework: {', '.join(apart)}." if apart else ""
    return {"notebooks": "\n".join(rows), "half-day": timetable(half), "two-days": timetable(whole) + note}


def only(sections: Sequence[str]) -> str:
    """Return what a timetable says of a notebook of which only some sections are read."""
    return f"only {', '.join(f'*{name}*' for name in sections)}" if sections else ""


def speeds(reports: Iterable[Path]) -> str:
    """Return the tables of speeds, one per machine that was measured.

    Args:
        reports: files that ``alstm bench --json`` wrote.
    """
    parts = []
    for path in reports:
        figures = json.loads(path.read_text(encoding="utf-8"))
        machine = figures["machine"]
        cores = f"{machine['cores']} cores" + (f", {machine['busy']} of them kept busy" if machine["busy"] else "")
        load = f"load {machine['load_before']} before and {machine['load_after']} after"
        rows = [
            f"**{machine['processor']}**, {cores}, {load}, {machine['date']}, Paddle {machine['paddle']}: "
            f"`{machine['command']} --json`",
            "",
            "| here | videos/s | baseline | videos/s | ratio | by processor time |",
            "|---|---:|---|---:|---:|---:|",
        ]
        for name, (ours, theirs) in SPEEDS.items():
            if name in figures:
                here, there, ratio = (figures[key] for key in (ours, theirs, name))
                rates = f"{here['what']} | {with_spread(here)} | {there['what']} | {with_spread(there)}"
                rows.append(f"| {rates} | {with_spread(ratio)} | {with_spread(ratio, 'cpu', 'cpu_spread')} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def with_spread(figure: Mapping[str, Any], value: str = "value", spread: str = "spread") -> str:
    """Return a number of a figure and its spread; a dash for a ratio that was refused."""
    middle = figure.get(value)
    low, high = (three_digits(end) for end in figure[spread])
    return f"{'–' if middle is None else three_digits(middle)} ({low}–{high})"


def three_digits(value: float) -> str:
    """Return a number with three digits, or as an integer if it has more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def filled(document: Path, found: Mapping[str, str]) -> str:
    """Return the text of a document with the tables between its comments replaced.

    Raises:
        ValueError: a comment names no table, or the document has none of them.
    """
    text = document.read_text(encoding="utf-8")
    between = re.compile(r"(<!-- table: ([\w-]+)[^\n]* -->\n).*?(\n<!-- end -->)", re.DOTALL)
    names = [name for _, name, _ in between.findall(text)]
    if not names or not set(names) <= set(found):
        raise ValueError(f"{document}: tables {names}; expected some of {', '.join(found)}")
    return between.sub(lambda match: f"{match[1]}\n{found[match[2]]}\n{match[3]}", text)


def updated_documents() -> dict[Path, str]:
    """Return the documents that have tables, with current minutes, seconds and links."""
    notebooks = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    found = tables(read_about(notebooks, read_seconds(DOCS / "measured.json")), "../notebooks/")
    address = doors.repository(PYPROJECT)
    return {
        ROOT / "README.md": filled(
            ROOT / "README.md", {"doors": doors.row(address), "speed": speeds(sorted((DOCS / "speed").glob("*.json")))}
        ),
        DOCS / "glossary.yml": updated_glossary(notebooks),
        DOCS / "doors.md": filled(DOCS / "doors.md", {"doors": doors.row(address, help_page="")}),
        **{path: filled(path, found) for path in (DOCS / "index.md", DOCS / "workshop.md")},
    }


class Edition(NamedTuple):
    """One language of the site.

    Args:
        course: the folder of its executed notebooks.
        language: of its texts.
    """

    course: Path
    language: str = ENGLISH

    @property
    def folder(self) -> str:
        """Where its pages and notebooks are, below those of the English edition."""
        return "" if self.language == ENGLISH else f"{self.language}/"

    def texts(self, about: Mapping[str, About], address: str) -> dict[str, str]:
        """Return the pages that are neither notebooks nor on the package."""
        if self.language == ENGLISH:
            found = tables(about, "") | {"doors": doors.row(address, help_page="")}
            pages = {name: filled(DOCS / f"{name}.md", found) for name in ("index", "workshop", "doors")}
            pages |= {name: (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("class", "costs")}
        else:
            pages = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / self.language).glob("*.md")}
        pages["glossary"] = glossary(self.language)
        figures = r"\]\((?:\.\./)+figures/"
        return {name: re.sub(figures, "](figures/", notebooks_beside(text)) for name, text in pages.items()}


def notebooks_beside(text: str) -> str:
    """Point links to notebooks at their pages, which lie beside the others."""
    return re.sub(r"\]\(<?(?:\.\./)+notebooks/(?:[\w-]+/)?(\w+\.ipynb)[^)>]*>?\)", r"](\1)", text)


def write_sources(edition: Edition, target: Path, address: str) -> list[str]:
    """Write everything that Sphinx reads; links to services that open a notebook need the repository's address.

    Returns:
        The names of the pages that have one in the other language, too.
    """
    course = edition.course
    executed = sorted(course.glob("[0-9][0-9]_*.ipynb"))
    if not executed:
        raise SystemExit(f"error: {course}: no executed notebook here; run `make course` first")
    about = read_about(executed, read_seconds(course / "summary.json"))
    for path in executed:
        nbformat.write(page(path, address, edition.folder), target / path.name)
    for name in ("conf.py", "site.css"):
        shutil.copy(DOCS / name, target)
    for folder in (DOCS / "templates", ROOT / "figures"):
        shutil.copytree(folder, target / folder.name)
    if edition.language == CHINESE:
        catalogue = target / "locales" / "zh_CN" / "LC_MESSAGES" / "sphinx.po"  # Sphinx looks there
        catalogue.parent.mkdir(parents=True)
        catalogue.write_bytes(i18n.theme())
    pages = edition.texts(about, address)
    package = api() if edition.language == ENGLISH else {}
    pages["index"] += toctree(*about, *pages, *(["api"] if package else []))
    for name, text in {**pages, **package}.items():
        (target / f"{name}.md").write_text(text, encoding="utf-8")
    return [*about, *pages]


def toctree(*names: str) -> str:
    """Return the pages that the navigation shows below a page."""
    return "\n".join(["", "```{toctree}", ":hidden:", "", *(name for name in names if name != "index"), "```", ""])


def api() -> dict[str, str]:
    """Return the pages on the package: one per wing, and one that lists them."""
    wings: dict[str, dict[str, Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__main__":
            module = ".".join(parts).removesuffix(".__init__")
            wings.setdefault(parts[1] if len(parts) > 2 else "root", {})[module] = path
    lines = ["# The package `alstm_helpers`", "", "| wing | holds |", "|---|---|"]
    pages = {}
    for wing, modules in wings.items():
        about = ast.get_docstring(ast.parse(modules[min(modules, key=len)].read_text(encoding="utf-8"))) or ""
        lines.append(f"| [{wing}](api-{wing}.md) | {about.splitlines()[0]} |")
        pages[f"api-{wing}"] = "\n".join([f"# {wing}", *(described(name, modules) for name in modules)])
    return {"api": "\n".join(lines) + "\n" + toctree(*pages), **pages}


def described(module: str, modules: Mapping[str, Path]) -> str:
    """Return the section on a module; what a package lists in ``__all__`` is described there and nowhere else."""
    faces = [name for name in (module, module.rpartition(".")[0]) if exported(modules.get(name))]
    options = [] if module in faces else ["   :ignore-module-all:"]
    if faces and module not in faces:
        options.append(f"   :exclude-members: {', '.join(exported(modules[faces[0]]))}")
    return "\n".join(["", f"## {module}", "", "```{eval-rst}", f".. automodule:: {module}", *options, "```", ""])


def exported(path: Path | None) -> list[str]:
    """Return ``__all__`` of a package's ``__init__.py``; empty for other files."""
    if path is None or path.name != "__init__.py":
        return []
    found = re.search(r"^__all__ = (\[[^]]*\])", path.read_text(encoding="utf-8"), re.MULTILINE)
    return list(ast.literal_eval(found[1])) if found else []


def glossary(language: str = ENGLISH) -> str:
    """Return the terms in alphabetical order, with links to the notebooks that use them first."""
    terms = yaml.safe_load((DOCS / "glossary.yml").read_text(encoding="utf-8"))
    rows = ["# Glossary", "", "| term | 中文 | meaning | first used in |", "|---|---|---|---|"]
    if language != ENGLISH:
        rows[0], rows[2] = "# 术语表", "| English | 中文 | 含义 | 首次出现 |"
        chinese = i18n.load("glossary")
        terms = [{**term, "means": i18n.translation(chinese, term["en"], term["means"])} for term in terms]
    for term in sorted(terms, key=lambda term: term["en"].lower()):
        number = term["in"][:2]
        rows.append(f"| {term['en']} | {term['zh']} | {term['means']} | [{number}]({term['in']}.ipynb) |")
    return "\n".join(rows) + "\n"


def updated_glossary(notebooks: Iterable[Path]) -> str:
    """Return the text of the glossary with the notebook that uses each term first."""
    texts = {path.stem: prose(nbformat.read(path, as_version=4)) for path in notebooks}
    term = re.compile(r"(?<=\{en: )([^,]+)(, .*?in: )\w+")
    text = (DOCS / "glossary.yml").read_text(encoding="utf-8")
    return term.sub(lambda row: f"{row[1]}{row[2]}{first_use(row[1], texts)}", text)


def prose(notebook: nbformat.NotebookNode) -> str:
    """Return the text of a notebook without code of more than a word, and without the targets of links."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"```.*?```|`(\w*)`|`[^`\n]*`|\]\([^)\n]*\)", r" \1 ", text, flags=re.DOTALL)


def first_use(term: str, texts: Mapping[str, str]) -> str:
    """Return the first notebook whose text has a term; the case counts only in abbreviations such as GAP.

    Raises:
        ValueError: none has it.
    """
    case = 0 if sum(map(str.isupper, term)) > 1 else re.IGNORECASE
    word = re.compile(rf"(?<![\w-]){re.escape(term)}(s|d|ed|ing)?(?!\w)", case)
    for name, text in texts.items():
        if word.search(text):
            return name
    raise ValueError(f"docs/glossary.yml: no notebook uses {term!r}; delete it there")


def build(course: Path, site: Path, chinese: Path | None = None) -> int:
    """Build the site with Sphinx and replace the folder ``site`` by it; return Sphinx's exit status."""
    editions = [Edition(course)] + ([Edition(chinese, CHINESE)] if chinese else [])
    with tempfile.TemporaryDirectory() as folder:
        sources = [Path(folder, f"source-{edition.language}") for edition in editions]
        for source in sources:
            source.mkdir()
        address = doors.repository(PYPROJECT)
        names = [write_sources(edition, source, address) for edition, source in zip(editions, sources, strict=True)]
        there = names[::-1] if chinese else [[]]
        outs = [Path(folder, "out", edition.folder) for edition in editions]
        with ThreadPoolExecutor() as pool:  # Sphinx runs in processes of its own
            failed = [status for status in pool.map(build_edition, editions, sources, outs, there) if status]
        if failed:  # negative if Sphinx was killed
            return failed[0]
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(Path(folder, "out"), site)
    print(f"{len(list(site.rglob('*.html')))} pages → {site / 'index.html'}")
    return 0


SWITCH = {  # where the other language's pages are, its code, and its name
    ENGLISH: (f"{CHINESE}/", CHINESE, "中文"),
    CHINESE: ("../", ENGLISH, "English"),
}


def build_edition(edition: Edition, source: Path, out: Path, there: Sequence[str]) -> int:
    """Build the pages of one language; ``there`` are the pages of the other one. Return Sphinx's exit status."""
    options = ["-D", f"language={edition.language.replace('-', '_')}"]
    options += ["-D", "html_title=AttentionLSTM：YouTube-8M 视频分类"] if edition.folder else []
    if there:
        prefix, code, label = SWITCH[edition.language]
        values = {"prefix": prefix, "code": code, "label": label, "pages": ",".join(there)}
        options += [part for name, value in values.items() for part in ("-A", f"other_{name}={value}")]
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", *options]
    done = subprocess.run([*command, str(source), str(out)], check=False)
    (out / "slides").mkdir(exist_ok=True, parents=True)
    for path in sorted(source.glob("[0-9][0-9]_*.ipynb")):
        text = slides.deck(nbformat.read(path, as_version=4), edition.language)
        (out / "slides" / f"{path.stem}.html").write_text(text, encoding="utf-8")
    return done.returncode


def main() -> int:
    """Build the site, or refresh the tables."""
    if sys.argv[1:] == ["--tables"]:
        for path, text in updated_documents().items():
            path.write_text(text, encoding="utf-8")
        return 0
    return build(*map(Path, sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
