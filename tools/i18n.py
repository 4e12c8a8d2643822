"""Keep the Chinese edition: catalogues in ``i18n/zh-CN``, and everything that is made from them.

    python -m tools.i18n update     # new strings into the catalogues; changed ones are marked fuzzy
    python -m tools.i18n render     # notebooks/zh-CN, docs/zh-CN, README.zh-CN.md, and the compiled catalogue
    python -m tools.i18n check      # what is missing, fuzzy, orphaned, or differs from its original

A catalogue is a PO file. Of a notebook or a document it has one message per cell or section of Markdown, with the
cell's id or the section's heading as context, and one per string of a code cell. Of the package it has one per string
that is shown, with the module as context. A string that is not to be translated has itself as its translation.
"""

from __future__ import annotations

import ast
import datetime
import difflib
import io
import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
import yaml
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from IPython.core.inputtransformer2 import TransformerManager

from alstm_helpers.course.canonical import canonical
from alstm_helpers.deployment.videos import page_texts
from alstm_helpers.files import atomic_write
from alstm_helpers.language import CHINESE
from alstm_helpers.translation import CELLS, DOMAIN, LABELS, labels, template
from tools import i18n_checks

ROOT = Path(__file__).resolve().parents[1]
CATALOGUES = ROOT / "i18n" / CHINESE
COMPILED = ROOT / "alstm_helpers" / "locale" / CHINESE.replace("-", "_") / "LC_MESSAGES" / f"{DOMAIN}.mo"
DOCUMENTS = ("README", "data/README", "docs/index", "docs/workshop", "docs/doors", "docs/class", "docs/costs")
# Modules whose strings are for people who work on the course, or are names and code only.
UNTRANSLATED = re.compile(
    r"\.(language|translation|machine\.(bench\w*|measure|step|on_request)|course\.(canonical|readme|assignments))$"
)
# Words and patterns that are shown without being labels: they are translated wherever they are.
SHOWN_TOO = {
    "errors": ("{self.where}: {self.problem}; {self.remedy}",),
    "cli": (
        "error: {one_line(' '.join(_sentence(error).split()))}",
        "{where}: {error.strerror or error}; {remedy_of(error)}",
    ),
    "commands.options": ("error: {error}",),
    "course.exercises.answers": ("first", "second", "third", "fourth", "{which} {slip.text}"),
    "course.exercises.attempts": (", `{code[:60]}`", ": {text}"),
    "course.exercises.chapter_03": ("lengths",),
    "course.exercises.chapter_09": ("indices",),
    "commands.training": ("network",),
    "commands.evaluation": (", ",),
    "own_videos.features": (", ", "{count} {side}"),
    "own_videos.decoding": ("once",),
    "own_videos.inputs": ("pictures", "sound"),
    "own_videos.labels": ("(none)",),
    "own_videos.label_formats.tables": ("none",),
    "own_videos.label_formats.via": ("none", "text"),
    "data.class_names": ("nothing",),
    "pickles": ("a {type(value).__name__}",),
    "tfrecord": ("a {kind}",),
    "commands.own_videos": ("none",),
    "evaluation.html_report": (
        "{said[0].upper()}{said[1:]}.",
        "{_TITLES[kind].capitalize()}: {said}.",
        "true",
        "videos",
        "Videos",
        "class",
        "Classes",
        "Calibration",
        "baseline",
        "none",
    ),
    "figures.drawings": (
        *("video\n.mp4", "weights", "forget", "input", "output"),
        *("Localization", "Classification", "Pixel-Wise", "Localization3D", "Transcript", "NLP", "Speech", "Create"),
        *("Colabeler", "Prev", "Next", "Export", "Move", "Delete"),
    ),
    "03_data": ("everything", "processes", "disk", "limit", "longest", "length", "payload"),
    "03_data_appendix": ("length", "payload"),
    "04_training": ("yes", "no"),
    "05_evaluation": (
        "overlap",
        "better",
        "worse",
        "trained",
        "rounded",
        "none",
        "{fault}: {lab.short(printed.splitlines()[-1])}\n",
    ),
    "06_inference": ("{chosen:.2f}, {name}",),
    "07_configuration": ("nowhere",),
    "08_recommended_parameters": ("epochs", "warm-up"),
    "09_own_videos": ("{method}: {compared}",),
}
# Names of curves, axes and sliders that are keys in the notebooks, too: they are translated where a figure shows them.
CURVES = (
    *("floor", "train", "valid", "attention", "mean", "chance", "gap", "attention see", "attention hear"),
    *("epoch", "score", "loss", "precision", "recall", "download", "second", "step", "hours", "last", "LSTMs"),
    *("threshold", "sharpness", "false dog", "missing car"),  # sliders
)
# What click says in --help and of wrong arguments; its modules are translated as those of the package are.
CLICK = {
    "core": (
        *("Options", "Positional arguments", "Commands", "default: {default}", "required", "Missing command."),
        *("Got unexpected extra argument ({args})", "Got unexpected extra arguments ({args})"),
        *("env var: {var}", "[OPTIONS]"),
    ),
    "decorators": ("Show this message and exit.", "Show the version and exit."),
    "exceptions": (
        *("Error: {message}", "Try '{command} {option}' for help.", "Invalid value: {message}"),
        *("Invalid value for {param_hint}: {message}", "Missing argument", "Missing option", "Missing parameter"),
        *("No such option {name!r}.", "No such command {name!r}."),
        *("Did you mean {possibility}?", "(Did you mean one of: {possibilities}?)"),
        *("{missing}{param_hint}.{msg}", "{self.message} {_format_possibilities(self.possibilities)}"),
    ),
    "formatting": ("Usage:", "{usage} ", "{'':>{self.current_indent}}{heading}:\n"),
    "parser": (
        *("Argument {name!r} takes {nargs} values.", "Option {name!r} does not take a value."),
        *("Option {name!r} requires an argument.", "Option {name!r} requires {nargs} arguments."),
    ),
    "types": (
        *("file", "directory", "path", "text", "integer", "integer range", "float", "float range"),
        *("{value!r} is not {choice}.", "{value!r} is not one of {choices}."),
        *("{value!r} is not a valid {number_type}.", "{value} is not in the range {range}."),
        *("{value!r} is not a valid boolean. Recognized values: {states}", "{name} {filename!r} does not exist."),
        *("{name} {filename!r} is a file.", "{name} {filename!r} is a directory."),
        *("{name} {filename!r} is not readable.", "{name} {filename!r} is not writable."),
    ),
}
# What Furo writes on every page of the site; Sphinx's own Chinese has none of it.
THEME = ("On this page", "Next", "Previous", "Home", "Back to top", "Made with ")
WORDS = re.compile(r"[A-Za-z]{2,}\S* |\s[A-Za-z]{2,}")
FENCED = re.compile(r"(^[ ]*```.*?^[ ]*```[ ]*$)", re.DOTALL | re.MULTILINE)
MEASURED = re.compile(r"(?P<row>\| \[(?P<name>\d\d_\w+)\]\([^)]*\) \| )(?P<numbers>(?: *[\d.–]+ *\|){2})")
TABLE = re.compile(r"(<!-- table: [\w-]+[^\n]* -->\n).*?(\n<!-- end -->)", re.DOTALL)


class Text(NamedTuple):
    """A text to translate.

    Args:
        context: a cell's id, a section's heading, or a module.
        text: the original.
        kind: ``prose`` for Markdown, ``string`` for a string of code, ``label`` for one that is a label only.
    """

    context: str
    text: str
    kind: str


# --- What there is to translate -----------------------------------------------------------------------------------


@cache  # of the tree as it is: an update changes the catalogues, not the texts
def sources() -> dict[str, list[Text]]:
    """Return all texts by the name of their catalogue."""
    found = {path.stem: notebook_texts(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    documents = [ROOT / f"{name}.md" for name in DOCUMENTS]
    found |= {_catalogue_of(path): document_texts(path) for path in documents}
    found |= {"glossary": glossary_texts(), "notes": notes_texts(), "evidence": evidence_texts()}
    found["page"] = [Text("page", text, "string") for text in page_texts()]
    found["click"] = [Text(f"click.{name}", text, "string") for name, texts in CLICK.items() for text in texts]
    found["theme"] = [Text("theme", text, "prose") for text in THEME]  # no string of code
    for module, path in modules().items():
        wing = f"alstm_helpers.{module.split('.')[1]}" if module.count(".") > 1 else "alstm_helpers"
        too = SHOWN_TOO.get(module.removeprefix("alstm_helpers."), ())
        texts = [Text(module, *string) for string in shown_strings(path.read_text(encoding="utf-8"), too)]
        found.setdefault(wing, []).extend(texts)
    return {name: list(dict.fromkeys(texts)) for name, texts in found.items() if texts}


def modules() -> dict[str, Path]:
    """Return the package's modules with strings for learners."""
    package = ROOT / "alstm_helpers"
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(package.rglob("*.py"))
    }
    return {name: path for name, path in names.items() if not UNTRANSLATED.search(name) and name != "alstm_helpers"}


def notebook_texts(path: Path) -> list[Text]:
    """Return a notebook's texts: its Markdown, cell by cell, and the strings of its code."""
    texts = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            texts.append(Text(cell.id, cell.source, "prose"))
        else:
            code = TransformerManager().transform_cell(cell.source)  # type: ignore[no-untyped-call]
            texts += [Text(cell.id, *string) for string in shown_strings(code, SHOWN_TOO.get(path.stem, ()))]
    return texts


def _catalogue_of(document: Path) -> str:
    """Return the name of a document's catalogue: the document's, but the folder's for a README below the root."""
    return document.parent.name if document.stem == "README" and document.parent != ROOT else document.stem


def document_texts(path: Path) -> list[Text]:
    """Return a document's texts: its sections, and the cells of its generated tables."""
    text = without_measurements(path.read_text(encoding="utf-8"))
    cells = [cell for table in TABLE.finditer(text) for cell in table_cells(table[0])]
    return [*(Text(name, body, "prose") for name, body in sections(TABLE.sub(r"\1\2", text))), *cells]


def without_measurements(text: str) -> str:
    """Return a text with dashes for the minutes and seconds in its rows of notebooks, which change with every run."""
    return MEASURED.sub(r"\g<row>– | – |", text)


def sections(text: str) -> list[tuple[str, str]]:
    """Return the sections of Markdown: heading, and text with its heading; what comes before the first is "opening"."""
    found: list[tuple[str, list[str]]] = [("opening", [])]
    fenced = False
    for line in text.rstrip("\n").split("\n"):
        fenced ^= line.lstrip().startswith("```")
        if line.startswith("#") and not fenced:
            found.append((line.lstrip("# "), []))
        found[-1][1].append(line)
    return [(name, "\n".join(lines).strip("\n")) for name, lines in found if "".join(lines).strip()]


def table_cells(table: str) -> Iterator[Text]:
    """Give the cells of a table that have words."""
    for line in table.split("\n")[1:-1]:
        for cell in line.strip("|").split("|") if line.startswith("|") else [line]:
            if re.search("[A-Za-z]{2}", cell):
                yield Text("table", cell.strip(), "prose")


def glossary_texts() -> list[Text]:
    """Return the meanings of the glossary's terms; the terms themselves have their Chinese in the glossary."""
    terms = yaml.safe_load((ROOT / "docs" / "glossary.yml").read_text(encoding="utf-8"))
    return [Text(term["en"], term["means"], "prose") for term in terms]


def notes_texts() -> list[Text]:
    """Return the notes for instructors."""
    notes = yaml.safe_load((ROOT / "docs" / "notes.yml").read_text(encoding="utf-8"))
    return [Text(f"{book}/{cell}", note, "prose") for book, cells in notes.items() for cell, note in cells.items()]


def evidence_texts() -> list[Text]:
    """Return the names that figures show: of the settings in docs/evidence, of curves, and of axes."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "evidence").glob("*.json")))
    names = dict.fromkeys(run["setting"] for text in texts for run in json.loads(text)["runs"])
    return [Text("evidence", name, "string") for name in (*names, *CURVES)]


def shown_strings(code: str, too: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return the strings of Python code that a reader may see, and their kind: more than a word, or a label.

    Args:
        code: the source text.
        too: further strings to return if they are there.
    """
    tree = ast.parse(code)
    skipped = {id(node) for node in _unseen(tree)}
    shown = {id(label) for node in ast.walk(tree) if isinstance(node, ast.Call) for label in labels(node)}
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped or not isinstance(node, ast.JoinedStr | ast.Constant):
            continue
        if isinstance(node, ast.Constant) and not isinstance(node.value, str):
            continue
        text = template(node)
        words = re.sub(r"\{[^{}]*\}", " ", text) if isinstance(node, ast.JoinedStr) else text
        if text in too or WORDS.search(words):
            found.append((node.lineno, node.col_offset, text, "string"))
        elif id(node) in shown and re.search("[A-Za-z]{2}", words):
            found.append((node.lineno, node.col_offset, text, "label"))
    return [(text, kind) for *_, text, kind in sorted(found)]


def _unseen(tree: ast.AST) -> Iterator[ast.AST]:
    """Give the strings that nobody sees: docstrings, except those of commands, and the parts of f-strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            specs = [part.format_spec for part in node.values if isinstance(part, ast.FormattedValue)]
            yield from (part for part in node.values if isinstance(part, ast.Constant))
            yield from (inner for spec in specs if spec is not None for inner in ast.walk(spec))
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            decorators = " ".join(map(ast.unparse, getattr(node, "decorator_list", [])))
            if not re.search(r"\b(command|group)\b", decorators):
                yield node.body[0].value  # type: ignore[attr-defined]


# --- Catalogues ---------------------------------------------------------------------------------------------------


def path_of(name: str) -> Path:
    """Return the file of a catalogue."""
    return CATALOGUES / f"{name}.po"


def load(name: str) -> Catalog:
    """Return a catalogue; an empty one if it has no file."""
    path = path_of(name)
    if not path.exists():
        return _empty()
    with path.open("rb") as file:
        return read_po(file, locale=CHINESE.replace("-", "_"))


def _empty() -> Catalog:
    day = datetime.datetime(2026, 11, 27, tzinfo=datetime.UTC)  # else every update would change every file
    return Catalog(
        locale=CHINESE.replace("-", "_"),
        project="AttentionLSTM course",
        version="0.1",
        creation_date=day,
        revision_date=day,
        fuzzy=False,
        header_comment="# Chinese edition; msgctxt is a cell, a section or a module. See tools/i18n.py.",
    )


def save(name: str, catalogue: Catalog) -> None:
    """Write a catalogue."""
    buffer = io.BytesIO()
    write_po(buffer, catalogue, width=0, ignore_obsolete=True)
    with atomic_write(path_of(name)) as file:
        file.write(buffer.getvalue().rstrip(b"\n") + b"\n")


def update(name: str, texts: Iterable[Text]) -> Catalog:
    """Return a catalogue with the current texts: known ones keep their translation, changed ones get it as fuzzy."""
    old, new = load(name), _empty()
    texts = list(texts)
    current = {(text.context, text.text) for text in texts}
    gone = [message for message in old if message.id and (message.context, message.id) not in current]
    for text in texts:
        known = old.get(text.text, text.context)
        message = known or _likeliest(text, gone)
        if message is not None and known is None:
            gone.remove(message)
        fuzzy = message is not None and (known is None or message.fuzzy)
        string = message.string if message is not None else ""
        new.add(text.text, string, context=text.context, flags={"fuzzy"} if fuzzy else set())
    return new


def _likeliest(text: Text, gone: Iterable[Message]) -> Message | None:
    """Return the message that a text was before it was changed: of the same cell or section, and the most alike."""
    of_it = [message for message in gone if message.context == text.context]
    if text.kind == "prose" and text.context != "table":
        return of_it[0] if of_it else None
    alike = {difflib.SequenceMatcher(None, text.text, message.id).ratio(): message for message in of_it}
    return alike[max(alike)] if alike and max(alike) > 0.6 else None


# --- What is made from the catalogues -----------------------------------------------------------------------------


class Twins(NamedTuple):
    """A document in both languages.

    Args:
        source, target: paths of the English and the Chinese document.
        before, after: their texts; links in the Chinese one still lead to where the English one's lead.
    """

    source: Path
    target: Path
    before: str
    after: str


def rendered() -> dict[Path, bytes]:
    """Return the content of every file that is made from the catalogues."""
    books = {path: translated_notebook(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    twins = {}
    for path, book in books.items():
        twins[path] = _twins(path, _markdown_of(nbformat.read(path, as_version=4)), _markdown_of(book))
    for name in DOCUMENTS:
        path = ROOT / f"{name}.md"
        twins[path] = _twins(path, path.read_text(encoding="utf-8"), translated_document(path))
    found = {}
    for path, twin in twins.items():
        if path in books:
            for cell in books[path].cells:
                if cell.cell_type == "markdown":
                    cell.source = relinked(cell.source, twin, twins)
            text = canonical(books[path])
        else:
            text = relinked(twin.after, twin, twins)
        found[twin.target] = text.encode()
    return {**found, COMPILED: compiled()}


def _twins(path: Path, before: str, after: str) -> Twins:
    target = path.parent / CHINESE / path.name
    if path.stem == "README":
        target = path.with_suffix(f".{CHINESE}{path.suffix}")
    return Twins(path, target, before, after)


def _markdown_of(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def translated_notebook(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with its Markdown translated; what has no translation stays English."""
    notebook, catalogue = nbformat.read(path, as_version=4), load(path.stem)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = translation(catalogue, cell.id, cell.source)
    return notebook


def translated_document(path: Path) -> str:
    """Return a document translated, with the numbers and links of its generated tables."""
    text, catalogue = path.read_text(encoding="utf-8"), load(_catalogue_of(path))
    measured = {match["name"]: match["numbers"] for match in MEASURED.finditer(text)}
    text = without_measurements(text)
    tables = {match[1]: match[0] for match in TABLE.finditer(text)}
    parts = [translation(catalogue, name, body) for name, body in sections(TABLE.sub(r"\1\2", text))]

    def filled(match: re.Match[str]) -> str:
        lines = tables[match[1]].split("\n")
        return "\n".join([lines[0], *(_translated_row(line, catalogue) for line in lines[1:-1]), lines[-1]])

    text = TABLE.sub(filled, "\n\n".join(parts)) + "\n"
    return MEASURED.sub(lambda match: match["row"] + measured[match["name"]], text)


def _translated_row(line: str, catalogue: Catalog) -> str:
    if not line.startswith("|"):
        return translation(catalogue, "table", line)
    return "|".join(
        f" {translation(catalogue, 'table', cell.strip())} " if cell.strip() and not set(cell) <= set("-: ") else cell
        for cell in line.split("|")
    )


def translation(catalogue: Catalog, context: str, text: str) -> str:
    """Return the translation of a text, or the text itself if it has none yet."""
    message = catalogue.get(text, context)
    return str(message.string) if message is not None and message.string and not message.fuzzy else text


def relinked(text: str, twin: Twins, twins: Mapping[Path, Twins]) -> str:
    """Point relative links from the Chinese document, where it lies, at Chinese documents, sections and figures."""

    def new(match: re.Match[str]) -> str:
        address = match[2].strip("<>")
        if re.match(r"[a-z]+:", address) or not address:
            return match[0]
        place, _, anchor = address.partition("#")
        source = Path(os.path.normpath(twin.source.parent / place)) if place else twin.source
        target = twins[source].target if source in twins else _figure(source)
        if source == twin.target:  # the link to the other language
            target = twin.source
        if anchor and source in twins:
            anchor = _anchors(twins[source]).get(anchor, anchor)
        link = Path(os.path.relpath(target, twin.target.parent)).as_posix() if place else ""
        link += "/" if place.endswith("/") else ""
        link += f"#{anchor}" if anchor else ""
        return match[1] + (f"<{link}>" if match[2].startswith("<") else link)

    link = re.compile(r"(\]\(|(?:src|href)=\")(<[^>]*>|[^)\s\"]+)")
    parts = FENCED.split(text)
    return "".join(part if place % 2 else link.sub(new, part) for place, part in enumerate(parts))


def _figure(path: Path) -> Path:
    """Return the Chinese drawing in the place of a figure where there is one."""
    chinese = path.parent / CHINESE / path.name
    return chinese if path.parent.name == "figures" and chinese.exists() else path


def _anchors(twin: Twins) -> dict[str, str]:
    """Return the Chinese anchor of each English one, in JupyterLab's form and in that of code hosts."""
    found = {}
    for english, chinese in zip(_headings(twin.before), _headings(twin.after), strict=True):
        found[english.replace(" ", "-")] = chinese.replace(" ", "-")
        found[_slug(english)] = _slug(chinese)
    return found


def _headings(text: str) -> list[str]:
    """Return the headings of Markdown as readers see them."""
    found = re.findall(r"^#+ (.*)$", "".join(FENCED.split(text)[::2]), re.MULTILINE)
    return [re.sub(r"[*`]|\]\([^)]*\)|\[", "", heading) for heading in found]


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def strings() -> Iterator[tuple[str, str, str, str]]:
    """Give the translated strings of code: their context when the code runs, original, translation, and catalogue."""
    for name, texts in sources().items():
        catalogue = load(name)
        for text in texts:
            message = catalogue.get(text.text, text.context)
            if (text.kind != "prose" or name == "notes") and message is not None and message.string:
                context = CELLS if name[:1].isdigit() else name if name in ("notes", "evidence") else text.context
                context += LABELS if text.kind == "label" else ""
                if not message.fuzzy:
                    yield context, text.text, str(message.string), name


def compiled() -> bytes:
    """Return the catalogue of the strings of code, as gettext reads it; without those that stay as they are."""
    found = _empty()
    for context, original, chinese, _ in strings():
        if chinese != original:
            found.add(original, chinese, context=context)
    buffer = io.BytesIO()
    write_mo(buffer, found)
    return buffer.getvalue()


def theme() -> bytes:
    """Return the catalogue of the site's theme, as Sphinx reads it: without contexts."""
    found, known = _empty(), load("theme")
    for text in THEME:
        found.add(text, translation(known, "theme", text))
    buffer = io.BytesIO()
    write_po(buffer, found)
    return buffer.getvalue()


def conflicts() -> Iterator[str]:
    """Give the strings with two translations, as that of a cell is looked up by its text alone, and translated keys."""
    known: dict[tuple[str, str], tuple[str, str]] = {}
    settings = {text.text for text in evidence_texts()} - set(CURVES)
    for context, original, chinese, name in strings():
        if context == CELLS and original in settings and chinese != original:
            yield f"{name}: {original!r} is a setting of docs/evidence, by which it is looked up; keep it"
        first, where = known.setdefault((context, original), (chinese, name))
        if first != chinese:
            yield f"{name}: {original!r} is {chinese!r}, but {first!r} in {where}"


def render() -> int:
    """Write every file that is made from the catalogues; return how many have changed."""
    changed = 0
    for path, content in rendered().items():
        if not path.exists() or path.read_bytes() != content:
            with atomic_write(path) as file:
                file.write(content)
            changed += 1
    return changed


# --- Checks -------------------------------------------------------------------------------------------------------


def problems() -> Iterator[str]:
    """Give everything that is wrong with the Chinese edition."""
    terms = yaml.safe_load((ROOT / "docs" / "glossary.yml").read_text(encoding="utf-8"))
    found = sources()
    for path in sorted(CATALOGUES.glob("*.po")):
        if path.stem not in found:
            yield f"{path.name}: orphaned, there is no {path.stem} any more"
    for name, texts in found.items():
        catalogue = load(name)
        current = {(text.context, text.text): text for text in texts}
        for message in catalogue:
            if message.id and (message.context, message.id) not in current:
                yield f"{name}: {message.context}: orphaned: {message.id[:60]!r}"
        for (context, original), text in current.items():
            known = catalogue.get(original, context)
            if known is None:
                yield f"{name}: {context}: missing: {original[:60]!r}"
            elif known.fuzzy:
                yield f"{name}: {context}: fuzzy, its original has changed: {original[:60]!r}"
            else:
                faults = i18n_checks.faults(original, str(known.string), terms, prose=text.kind == "prose")
                yield from (f"{name}: {context}: {fault}: {original[:40]!r}" for fault in faults)


def stale() -> Iterator[str]:
    """Give the files that are not as they are made from the catalogues."""
    made = rendered()
    for path, content in made.items():
        if not path.exists() or path.read_bytes() != content:
            yield f"{path.relative_to(ROOT)}: not as rendered; run `make zh`"
    folders = {path.parent for path in made if path.parent.name == CHINESE}
    for path in sorted(path for folder in folders if folder.exists() for path in folder.iterdir()):
        if path not in made and path.is_file():
            yield f"{path.relative_to(ROOT)}: made from nothing; delete it"


def main() -> int:
    """Update the catalogues, make what is made from them, or check them."""
    actions = sys.argv[1:]
    if not actions or set(actions) - {"update", "render", "check"}:
        sys.exit((__doc__ or "").strip())
    if "update" in actions:
        for name, texts in sources().items():
            save(name, update(name, texts))
    if "render" in actions:
        print(f"{render()} files written")
    if "check" not in actions:
        return 0
    found = [*problems(), *conflicts(), *stale()]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
