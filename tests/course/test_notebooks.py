"""The form of every notebook: canonical bytes, the parameters cell, stable ids, short cells, described figures.

Each rule is a function that yields a notebook's faults. The first half of the file shows that every rule can
find one; the second half applies all rules to the course's notebooks.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from alstm_helpers.course.canonical import BOOTSTRAP, BOOTSTRAP_NOTE, PARAMETERS, canonical, derive_metadata, rewrite
from alstm_helpers.course.readme import fill_table, updated_readme
from alstm_helpers.errors import AlstmError

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
LONG, TOO_LONG, EXCEPTIONS = 14, 20, 5  # lines of a code cell, its limit, and how many cells may be longer than LONG
WIDTH = 88
MACHINE = r"(?<![\w.}/-])/(?:work|tmp|root|home|Users|mnt|content)/|\b[A-Z]:\\Users"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cell_of(notebook, name):
    return next((cell for cell in notebook.cells if cell.id == name), None)


# --- the rules --------------------------------------------------------------------------------------------------


def faults_of_ids(notebook, stem):
    ids = [cell.id for cell in notebook.cells]
    for name in ids:
        if not re.fullmatch(r"[a-z][a-z0-9-]+", name) or re.fullmatch(r"[0-9a-f]{8}", name):
            yield f"{name}: not a meaningful id"
        if ids.count(name) > 1:
            yield f"{name}: not unique"


def faults_of_outputs(notebook, stem):
    for cell in code_cells(notebook):
        if cell.outputs or cell.execution_count is not None:
            yield f"{cell.id}: has outputs or a count"


def faults_of_length(notebook, stem):
    """Short cells; the table of expected results is no code to follow, nor is the same beginning of all notebooks."""
    skipped = ("expected-results", "bootstrap")
    lengths = {cell.id: len(cell.source.splitlines()) for cell in code_cells(notebook) if cell.id not in skipped}
    long = [name for name, length in lengths.items() if length > LONG]
    if len(long) > EXCEPTIONS:
        yield f"{len(long)} cells of more than {LONG} lines: {', '.join(long)}"
    for name, length in lengths.items():
        if length > TOO_LONG:
            yield f"{name}: {length} lines"
    for cell in code_cells(notebook):
        if widest := max((line for line in cell.source.splitlines() if len(line) > WIDTH), key=len, default=""):
            yield f"{cell.id}: a line of {len(widest)} columns; the site shows {WIDTH}"


def faults_of_opening(notebook, stem):
    opening = ["title", "parameters", "bootstrap-note", "bootstrap", "setup"]
    first = [cell.id for cell in notebook.cells[:4]] + [cell.id for cell in code_cells(notebook)[2:3]]
    if first != opening:  # a note may come before the setup
        yield f"begins with {first}"
        return
    title, parameters, note, bootstrap, setup = (cell_of(notebook, name) for name in first)
    if not title.source.startswith(f"# {stem[:2]} "):
        yield "the title does not carry the notebook's number"
    if parameters.source != PARAMETERS or parameters.metadata.get("tags") != ["parameters"]:
        yield "the parameters cell is not the common one"
    if (note.source, bootstrap.source) != (BOOTSTRAP_NOTE, BOOTSTRAP):
        yield "the bootstrap cell or its note is not the common one"
    if f'Lab("{stem}"' not in setup.source:
        yield "the setup cell names another notebook"


def faults_of_closing(notebook, stem):
    cell = cell_of(notebook, "expected-results")
    if cell is None or cell.cell_type != "code" or "lab.expected_results(" not in cell.source:
        yield "no cell expected-results that calls lab.expected_results"


def faults_of_budget(notebook, stem):
    budget = notebook.metadata.get("alstm", {}).get("budget_seconds", {})
    for profile in ("tiny", "small"):
        seconds = budget.get(profile)
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds <= 0:
            yield f"budget_seconds.{profile}: {seconds}"


def faults_of_paths(notebook, stem):
    for cell in notebook.cells:
        for found in re.finditer(MACHINE, cell.source):
            yield f"{cell.id}: a path of one machine, {cell.source[found.start() : found.start() + 20]!r}"


def faults_of_figures(notebook, stem):
    """Every figure is shown by ``lab.show(…)``, with a description."""
    for cell in code_cells(notebook):
        for call in calls_in(cell.source):
            called = ast.unparse(call.func)
            if called in ("plt.show", "pyplot.show"):
                yield f"{cell.id}: {called}"
            if called == "lab.show" and not has_alt(call):
                yield f"{cell.id}: lab.show without alt"


def calls_in(source):
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


def has_alt(call):
    """Whether the call has an ``alt`` that is not blank; one that is computed counts."""
    alt = next((keyword.value for keyword in call.keywords if keyword.arg == "alt"), None)
    return alt is not None and not (isinstance(alt, ast.Constant) and not str(alt.value).strip())


def faults_of_code(notebook, stem):
    """Plain Python: no shell lines, no magics, no network access."""
    for cell in code_cells(notebook):
        if re.search(r"^\s*[!%]", cell.source, re.MULTILINE):
            yield f"{cell.id}: a magic or a shell line"
        if re.search(r"\b(urlopen|urlretrieve|requests\.get|wget|curl)\b", cell.source):
            yield f"{cell.id}: uses the network"


RULES = (
    faults_of_ids,
    faults_of_outputs,
    faults_of_length,
    faults_of_opening,
    faults_of_closing,
    faults_of_budget,
    faults_of_paths,
    faults_of_figures,
    faults_of_code,
)


# --- every rule can find a fault ----------------------------------------------------------------------------------

TITLE = """\
# 03 Data

What a record is.

**You will be able to**

- read a record
- write one

**Needs**

- notebook 01

**Makes**

- nothing

Chapter 3.
"""


def code(name, source, tags=()):
    cell = nbformat.v4.new_code_cell(source)
    cell.id = name
    if tags:
        cell.metadata["tags"] = list(tags)
    return cell


def a_notebook():
    """Return a notebook without faults, named 03_data."""
    title, note = nbformat.v4.new_markdown_cell(TITLE), nbformat.v4.new_markdown_cell(BOOTSTRAP_NOTE)
    title.id, note.id = "title", "bootstrap-note"
    cells = [
        title,
        code("parameters", PARAMETERS, ["parameters"]),
        note,
        code("bootstrap", BOOTSTRAP),
        code("setup", 'lab = Lab("03_data", profile=PROFILE)'),
        code("figure", 'lab.show(figure, "one", alt="A line.")'),
        code("expected-results", 'lab.expected_results([("videos", 1, 1, 0)])'),
    ]
    metadata = {"alstm": {"budget_seconds": {"tiny": 10, "small": 20.5}}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def faults(notebook):
    return [fault for rule in RULES for fault in rule(notebook, "03_data")]


def test_a_good_notebook_has_no_faults():
    assert faults(a_notebook()) == []


def broken(change):
    notebook = a_notebook()
    change(notebook)
    return notebook


def change(index, **values):
    return lambda notebook: notebook.cells[index].update(values)


@pytest.mark.parametrize(
    "fault, said",
    [
        (change(5, id="1a2b3c4d"), "not a meaningful id"),
        (change(5, id="abcdef12"), "not a meaningful id"),
        (change(5, id="Figure"), "not a meaningful id"),
        (change(5, id="setup"), "not unique"),
        (change(5, execution_count=1), "outputs or a count"),
        (change(5, outputs=[nbformat.v4.new_output("stream", text="x")]), "outputs or a count"),
        (change(5, source="\n".join(["x = 1"] * 21)), "21 lines"),
        (change(5, source=f"x = {'1' * 85}"), "a line of 89 columns"),
        (lambda nb: nb.cells.extend(code(f"long-{n}", "x = 1\n" * 15) for n in range(6)), "6 cells of more"),
        (change(0, source=TITLE.replace("03", "04")), "number"),
        (change(1, source=PARAMETERS.replace("tiny", "small")), "parameters cell"),
        (change(1, metadata={}), "parameters cell"),
        (change(2, source="Set INSTALL."), "bootstrap cell"),
        (change(3, source="if True:\n    pass"), "bootstrap cell"),
        (change(4, source='lab = Lab("04_training", profile=PROFILE)'), "another notebook"),
        (lambda nb: nb.cells.insert(1, code("early", "x = 1")), "begins with"),
        (change(6, id="results"), "expected-results"),
        (change(6, source="lab"), "expected-results"),
        (lambda nb: nb.metadata["alstm"]["budget_seconds"].pop("small"), "budget_seconds.small"),
        (lambda nb: nb.metadata["alstm"]["budget_seconds"].update(tiny=0), "budget_seconds.tiny"),
        (change(5, source='open("/home/me/x")'), "a path of one machine"),
        (change(5, source="# see /tmp/out"), "a path of one machine"),
        (change(5, source='lab.show(figure, "one")'), "without alt"),
        (change(5, source='lab.show(figure, "one", alt=" ")'), "without alt"),
        (change(5, source="plt.show()"), "plt.show"),
        (change(5, source="if True:\n    print(lab.show(figure, 'one'))"), "without alt"),
    ],
)
def test_every_rule_can_find_a_fault(fault, said):
    found = faults(broken(fault))
    assert found and all(said in line for line in found), found


@pytest.mark.parametrize("source, said", [("!ls", "shell line"), ("%matplotlib inline", "magic")])
def test_magics_are_found(source, said):
    assert said in next(faults_of_code(broken(change(5, source=source)), "03_data"))


def test_paths_that_anyone_may_have_are_accepted():
    for source in ("https://example.org/home/x", "data/tmp/x", 'lab.out_dir / "tmp"', "/ssd1/user/train0471.pkl"):
        assert faults(broken(change(5, source=f"# {source}"))) == []


# --- the canonical form -------------------------------------------------------------------------------------------


def test_metadata_is_derived_from_the_text():
    found = derive_metadata(a_notebook())
    assert found == {
        "title": "03 Data",
        "objectives": ["read a record", "write one"],
        "needs": ["notebook 01"],
        "produces": ["nothing"],
        "minutes": 3,  # 66 words and 5 code cells
    }


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("# 03 Data", "03 Data", "no title"),
        ("**Needs**", "**Wants**", "Needs"),
        ("- nothing\n", "", "Makes"),
        ("- read a record\n- write one\n", "reading\n", "You will be able to"),
    ],
)
def test_a_first_cell_that_lacks_a_part_is_rejected(old, new, said):
    with pytest.raises(AlstmError, match=said):
        derive_metadata(broken(change(0, source=TITLE.replace(old, new))))


def test_canonical_drops_traces_of_runs_and_editors():
    untidy = a_notebook()
    untidy.cells[5].outputs = [nbformat.v4.new_output("stream", text="x")]
    untidy.cells[5].execution_count = 7
    untidy.cells[5].metadata = nbformat.from_dict({"collapsed": True, "tags": ["b", "a"]})
    untidy.metadata["widgets"] = {"state": {}}
    untidy.metadata["kernelspec"] = {"name": "my-env", "display_name": "My env"}
    notebook = nbformat.reads(canonical(untidy), as_version=4)
    assert faults(notebook) == []
    assert notebook.cells[5].metadata == {"tags": ["a", "b"]}
    assert set(notebook.metadata) == {"alstm", "kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.alstm.budget_seconds == {"tiny": 10, "small": 20.5}
    assert notebook.metadata.alstm.title == "03 Data"
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)


def test_canonical_is_stable_and_readable():
    text = canonical(a_notebook())
    assert canonical(nbformat.reads(text, as_version=4)) == text
    assert text.endswith("}\n") and "\\u" not in canonical(broken(change(5, source="# 看 ≥ 0")))


def test_canonical_does_not_change_its_argument():
    notebook = broken(change(5, execution_count=7))
    canonical(notebook)
    assert notebook.cells[5].execution_count == 7


def test_rewrite_returns_whether_it_changed_the_file(tmp_path):
    path = tmp_path / "03_data.ipynb"
    nbformat.write(broken(change(5, execution_count=7)), path)
    assert rewrite(path)
    first = path.read_bytes()
    assert not rewrite(path)
    assert path.read_bytes() == first == canonical(a_notebook()).encode()


# --- the course's notebooks ---------------------------------------------------------------------------------------


@pytest.fixture(params=NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def path(request):
    return request.param


def test_bytes_are_canonical(path):
    text = path.read_bytes().decode("utf-8")
    assert canonical(nbformat.reads(text, as_version=4)) == text, "run python -m alstm_helpers.course.canonical"


@pytest.mark.parametrize("rule", RULES)
def test_form(path, rule):
    assert list(rule(nbformat.read(path, as_version=4), path.stem)) == []


def test_papermill_finds_the_parameters(path):
    found = papermill.inspect_notebook(str(path))
    defaults = {name: parameter["default"] for name, parameter in found.items()}
    assert defaults == {
        "PROFILE": '"tiny"',
        "SEED": "0",
        "DATA_DIR": '""',
        "OUT_DIR": '""',
        "DEVICE": '"cpu"',
        "INSTALL": '""',
        "LANG": '""',
    }


def test_name_is_numbered(path):
    assert re.fullmatch(r"\d\d_[a-z_]+", path.stem)


def test_code_is_lint_free(path):
    """No undefined names, no unused imports."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "F,E9",
        "--ignore",
        "F401,F704",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_readme_has_current_minutes_and_seconds():
    """If this fails after a change of text: ``make notebooks``; after a change of speed: ``make measured``."""
    path, text = updated_readme()
    assert path.read_text(encoding="utf-8") == text
    assert all(f"[{notebook.stem}](notebooks/{notebook.name})" in text for notebook in NOTEBOOKS)


def test_fill_table_fills_the_two_columns():
    table = "| [01_x](n/01_x.ipynb) | 3 | – | this and that |\n| [02_y](n/02_y.ipynb) | | | more |"
    filled = fill_table(table, {"01_x": 4, "02_y": 5}, {"01_x": 7.6})
    assert filled == "| [01_x](n/01_x.ipynb) | 4 | 8 | this and that |\n| [02_y](n/02_y.ipynb) | 5 | – | more |"
