"""The site: every page in a browser, wide and as on a phone; glossary and timetables."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import yaml
from browser import window

from alstm_helpers.language import CHINESE
from tools import slides

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GLOSSARY = yaml.safe_load((ROOT / "docs" / "glossary.yml").read_text(encoding="utf-8"))

spec = importlib.util.spec_from_file_location("site_tool", ROOT / "tools" / "site.py")
assert spec and spec.loader
site_tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site_tool)


# What a page is asked: blocks that a wide window cuts off, tables, and where its contents end.
CUT_OFF = """innerWidth < 1280 ? [] : [...document.querySelectorAll('pre')].filter(
    block => block.scrollWidth > block.clientWidth && !/.{89}/.test(block.textContent)
).map(block => block.textContent)"""
WIDE = """[...document.querySelectorAll('article table:not([class*=index])')].filter(
    table => table.scrollWidth > table.parentElement.clientWidth
    && getComputedStyle(table.parentElement).overflowX != 'auto').map(table => table.textContent)"""
CONTENTS = "document.querySelector('.toc-drawer:not(.no-toc)')?.getBoundingClientRect().right ?? 0"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of an executed course that ``ALSTM_SITE`` names; else of the notebooks as they are, without outputs."""
    if "ALSTM_SITE" in os.environ:
        return Path(os.environ["ALSTM_SITE"]).resolve()
    folder = tmp_path_factory.mktemp("site") / "my site 网站"
    books = ROOT / "notebooks"
    command = [sys.executable, str(ROOT / "tools" / "site.py"), str(books), str(folder), str(books / CHINESE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_notebook_and_text_has_a_page(site):
    pages = {path.stem for path in site.glob("*.html")}
    assert {path.stem for path in NOTEBOOKS} | {
        "index",
        "workshop",
        "class",
        "glossary",
        "doors",
        "costs",
        "search",
    } <= pages
    wings = {path.name for path in (ROOT / "alstm_helpers").iterdir() if (path / "__init__.py").is_file()}
    assert {"api", "api-root", *(f"api-{wing}" for wing in wings)} <= pages


@pytest.mark.parametrize("width", [1300, 390])
def test_every_page_in_a_browser(site, width):
    """Opened from the file system: no complaint, no broken or undescribed picture, nothing wider than the window."""
    with window(width, 900) as seen:
        for path in sorted(site.glob("*.html")) + sorted(site.glob(f"{CHINESE}/*.html")):
            seen.page.goto(path.as_uri())
            assert seen.ask("document.documentElement.scrollWidth") <= width, path.name
            assert seen.ask("[...document.images].every(image => image.naturalWidth > 0)"), path.name
            described = "[...document.images].every(image => image.alt && !image.alt.includes('_images/'))"
            assert seen.ask(described), path.name
            assert seen.ask(CUT_OFF) == [], f"{path.name}: code of at most 88 columns is cut off"
            assert seen.ask(WIDE) == [], f"{path.name}: a table that does not scroll by itself"
            assert width < 1280 or seen.ask(CONTENTS) <= width, f"{path.name}: its contents are outside the window"
            assert seen.complaints == [], path.name
        assert seen.hosts <= {""}, "a page asks the network"


def test_formulas_are_drawn(site):
    pages = [site / f"{path.stem}.html" for path in NOTEBOOKS]
    assert all("$$" not in page.read_text(encoding="utf-8") for page in pages)
    drawn = [page for page in pages if "<math" in page.read_text(encoding="utf-8")]
    assert drawn
    with window() as seen:
        for page in drawn:
            seen.page.goto(page.as_uri())
            heights = seen.ask(
                "[...document.querySelectorAll('math')].map(math => math.getBoundingClientRect().height)"
            )
            assert min(heights) > 5, page.name


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("peepholes", "01_model.html"),
        ("YouTube8MMetrics", "api-root.html#alstm_helpers.metrics.YouTube8MMetrics"),
        ("注意力", f"{CHINESE}/01_model.html"),
        ("断点续训", f"{CHINESE}/04_training.html"),
        ("softmax", f"{CHINESE}/01_model.html"),
    ],
)
def test_search_finds_a_word(site, word, page):
    folder, _, page = page.rpartition("/")
    with window() as seen:
        seen.page.goto(f"{(site / folder / 'search.html').as_uri()}?q={word}")
        seen.page.wait_for_selector(f'ul.search li a[href*="{page}"]', timeout=10_000)


def test_every_page_leads_to_the_same_page_in_the_other_language(site):
    for page in sorted(site.glob("*.html")) + sorted(site.glob(f"{CHINESE}/*.html")):
        link = re.search(r'<p class="language"><a href="([^"]+)" lang="([^"]+)"', page.read_text(encoding="utf-8"))
        assert link, page
        target = (page.parent / link[1]).resolve()
        assert target.is_file() and (target.parent.name == CHINESE) == (link[2] == CHINESE) != (
            page.parent.name == CHINESE
        ), page
        assert target.name == (
            page.name if (target.parent / page.name).is_file() and page.stem[:2].isdigit() else target.name
        )
    chinese = (site / CHINESE / "01_model.html").read_text(encoding="utf-8")
    assert '<html class="no-js" lang="zh-CN"' in chinese and "注意力" in chinese
    assert "回到顶部" in chinese and "Back to top" not in chinese, "the theme's words"


def test_the_public_names_are_described_where_they_are_imported_from(site):
    for page, name in [
        ("api-model", "alstm_helpers.model.AttentionLSTM"),
        ("api-root", "alstm_helpers.metrics.YouTube8MMetrics.update"),
        ("api-root", "alstm_helpers.tfrecord.read_videos"),
        ("api-root", "alstm_helpers.errors.AlstmError"),
    ]:
        assert f'id="{name}"' in (site / f"{page}.html").read_text(encoding="utf-8"), name


def test_arguments_and_results_are_lists(site):
    """Napoleon renders the sections of a docstring; none is left as it is written."""
    for path in site.glob("api-*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<p>(Args|Returns|Raises|Yields):", text), path.name
    assert ">Parameters<" in text and ">Returns<" in text


def test_links_inside_the_site_lead_somewhere(site):
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}
    ids = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in pages.items()}
    for name, text in pages.items():
        for link in re.findall(r'<a [^>]*href="([^":]+)"', text):
            page, _, anchor = unescape(unquote(link)).partition("#")
            assert (page or name) in pages or (site / page).exists(), f"{name}: {link}"
            assert not anchor or anchor in ids.get(page or name, {anchor}), f"{name}: {link}"


def test_nothing_of_a_run_s_folders_is_left(site):
    for path in site.glob("0*.html"):
        assert "injected-parameters" not in path.read_text(encoding="utf-8")


def test_the_slides_of_a_notebook(site):
    """One slide per screen, and nothing from the network."""
    assert {path.stem for path in (site / "slides").glob("*.html")} == {path.stem for path in NOTEBOOKS}
    with window(1300, 900) as seen:
        seen.page.goto((site / "slides" / "07_configuration.html").as_uri())
        heights = seen.ask("[...document.querySelectorAll('section')].map(s => s.getBoundingClientRect().height)")
        assert len(heights) > 10 and set(heights) == {900}
        assert seen.complaints == [] and seen.hosts <= {""}


# --- the parts ----------------------------------------------------------------------------------------------------


def test_a_page_of_a_notebook(tmp_path):
    output = nbformat.v4.new_output("display_data", {"image/png": "AA=="}, metadata={"image/png": {"alt": "A line."}})
    cells = [
        nbformat.v4.new_code_cell("PROFILE = 'x'", metadata={"tags": ["injected-parameters"]}),
        nbformat.v4.new_markdown_cell("[a](../README.md) [b](01_model.ipynb#Some-heading) [c](../docs/glossary.yml)"),
        nbformat.v4.new_code_cell("show()", outputs=[output]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "x.ipynb")
    text, figure = site_tool.page(tmp_path / "x.ipynb").cells
    assert text.source == "a [b](01_model.ipynb) [c](glossary.md)"
    assert figure.metadata["mystnb"] == {"image": {"alt": "A line."}}


def test_links_to_services_follow_the_title_of_a_page(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("# 01 Model\n\nA model."), nbformat.v4.new_code_cell("1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01_model.ipynb")
    title, _ = site_tool.page(tmp_path / "01_model.ipynb", "https://github.com/o/r").cells
    lines = title.source.splitlines()
    assert lines[:3] == ["# 01 Model", "", "```{container} doors"] and lines[-1] == "A model."
    assert lines[3].endswith(' <a href="slides/01_model.html">Slides</a>')
    assert "(https://colab.research.google.com/github/o/r/blob/main/notebooks/01_model.ipynb) [Kaggle](" in lines[3]
    assert site_tool.page(tmp_path / "01_model.ipynb").cells[0].source.splitlines()[3].startswith('<a href="slides/')


def test_slides_follow_headings_and_figures():
    output = nbformat.v4.new_output(
        "display_data", {"image/png": "AA==\n"}, metadata={"image/png": {"alt": "A <line>."}}
    )
    cells = [
        nbformat.v4.new_markdown_cell("# 01 Model\n\nA model."),
        nbformat.v4.new_markdown_cell(
            "## One\n\nFirst [see](x.md) $x^2$:\n\n- item\n\nSecond.\n\n### Two\n\nThird.\n\nNever."
        ),
        nbformat.v4.new_code_cell("hidden()", outputs=[output]),
        nbformat.v4.new_markdown_cell("More text."),
        nbformat.v4.new_markdown_cell("### Exercise 1.1\n\nDo.\n\nAnd this."),
    ]
    title, one, two, figure, exercise = slides.slides_of(nbformat.v4.new_notebook(cells=cells))
    assert "A model." in title and "And this." in exercise
    assert 'First see <span class="math' in one and "<math" in one and "<li>item</li>" in one and "Second" not in one
    assert "Third." in two and "Never" not in two
    assert slides.shown("## 一\n\n先看：\n\n- 甲\n\n乙。") == "## 一\n\n先看：\n\n- 甲"
    assert (
        figure.startswith("<h3>Two</h3>") and 'base64,AA==" alt="A &lt;line&gt;."' in figure and "hidden" not in figure
    )


def test_a_package_describes_what_it_exports_and_its_modules_do_not(tmp_path):
    modules = {name: tmp_path / f"{name}.py" for name in ("a.b.__init__", "a.b.c", "a.d")}
    for path in modules.values():
        path.write_text("", encoding="utf-8")
    modules["a.b.__init__"].rename(tmp_path / "__init__.py")
    modules = {"a.b": tmp_path / "__init__.py", "a.b.c": modules["a.b.c"], "a.d": modules["a.d"]}
    modules["a.b"].write_text('__all__ = ["X", "y"]\n', encoding="utf-8")
    assert "automodule:: a.b\n```" in site_tool.described("a.b", modules)
    assert ":ignore-module-all:\n   :exclude-members: X, y\n" in site_tool.described("a.b.c", modules)
    assert ":ignore-module-all:\n```" in site_tool.described("a.d", modules)


def test_a_timetable_has_a_break_before_ninety_minutes_are_over():
    rows = site_tool.timetable([("a", 50, ""), ("b", 45, "x"), ("c", 40, ""), ("d", 60, "")]).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["0:00", "0:50", "1:05", "1:50", "2:30", "2:45", "3:45"]
    assert [row.split("|")[2].strip() for row in rows] == ["a", "break", "b", "c", "break", "d", "end"]


def test_half_a_day_is_three_and_a_half_hours_at_most():
    timetable = (ROOT / "docs" / "workshop.md").read_text(encoding="utf-8").partition("## Two days")[0]
    hours, minutes = re.findall(r"^\| (\d+):(\d\d) \| end \|", timetable, re.MULTILINE)[0]
    assert 60 * int(hours) + int(minutes) <= 210


def test_a_part_of_a_notebook_counts_its_share():
    about = site_tool.About("03 Data", 20, 600.0, {"": 2.0, "a": 6.0, "b": 12.0})
    assert (about.total(), about.total("a"), about.total("a", "b")) == (30, 12, 30)
    cells = [
        nbformat.v4.new_markdown_cell(text) for text in ("# 03\n\n" + "word " * 148, "## a\n\n### x", "word " * 150)
    ]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("1")])
    assert site_tool.minutes_by_section(notebook) == {"": 1.0, "a": pytest.approx(1.5, abs=0.03)}


def test_the_tables_of_the_documents_are_up_to_date():
    for path, text in site_tool.updated_documents().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `make notebooks`"


def test_a_document_is_filled_between_its_comments(tmp_path):
    document = tmp_path / "x.md"
    document.write_text("a\n<!-- table: half-day, filled in -->\n\nold\n\n<!-- end -->\nb\n", encoding="utf-8")
    text = site_tool.filled(document, {"half-day": r"| \1 |", "two-days": ""})
    assert text == "a\n<!-- table: half-day, filled in -->\n\n| \\1 |\n\n<!-- end -->\nb\n"
    for wrong in ({"two-days": ""}, {}):
        with pytest.raises(ValueError, match=r"x\.md: tables \['half-day'\]"):
            site_tool.filled(document, wrong)


def test_tables_have_the_minutes_of_reading_and_of_the_machine():
    about = {"01_model": site_tool.About("01 Model", 40, 100.0), "02_x": site_tool.About("02 X", 31, None)}
    about["02_x_appendix"] = site_tool.About("02 X, appendix", 20, 60.0)
    found = site_tool.tables(about, "../notebooks/")
    assert found["notebooks"].splitlines()[2:] == [
        "| [01 Model](../notebooks/01_model.ipynb) | 40 | 100 |",
        "| [02 X](../notebooks/02_x.ipynb) | 31 |  |",
        "| [02 X, appendix](../notebooks/02_x_appendix.ipynb) | 20 | 60 |",
    ]
    assert "| 0:00 | [01_model](../notebooks/01_model.ipynb) | 42 |  |" in found["two-days"]
    assert "02_x" not in found["half-day"]
    apart = "[02_x_appendix](../notebooks/02_x_appendix.ipynb) (21 minutes to read and run)."
    assert found["two-days"].endswith(f"| 1:13 | end | | |\n\nNot in the timetable, homework: {apart}")


def test_speeds_are_those_that_were_measured(tmp_path):
    """One table per machine; a ratio that was refused is a dash, and one that was not measured has no row."""
    figures = {
        "machine": {
            **{"processor": "Abacus", "cores": 2, "load_before": 0.1, "load_after": 1.9, "busy": 1},
            **{"date": "2026-12-01", "paddle": "3.3.1", "command": "alstm bench --busy 1"},
        },
        "train": {"value": 1507.2, "spread": [999.6, 2000], "what": "ours"},
        "pytorch_padded": {"value": 0.4567, "spread": [0.4, 0.5], "what": "theirs"},
        "train_per_padded": {"value": None, "spread": [0.9, 1.2], "cpu": 1.234, "cpu_spread": [1.1, 1.3]},
    }
    report = tmp_path / "abacus.json"
    report.write_text(json.dumps(figures), encoding="utf-8")
    caption, empty, _, _, row = site_tool.speeds([report]).splitlines()
    assert caption == (
        "**Abacus**, 2 cores, 1 of them kept busy, load 0.1 before and 1.9 after, 2026-12-01, Paddle 3.3.1: "
        "`alstm bench --busy 1 --json`"
    )
    assert not empty
    assert row == "| ours | 1,507 (1,000–2,000) | theirs | 0.457 (0.4–0.5) | – (0.9–1.2) | 1.23 (1.1–1.3) |"
    assert site_tool.speeds([report, report]).count("**Abacus**") == 2


def test_no_executed_notebook_is_one_sentence(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "site.py"), str(tmp_path), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.strip().endswith("no executed notebook here; run `make course` first")
    assert not (tmp_path / "site").exists()


def test_the_glossary_is_whole():
    terms = [row["en"].lower() for row in GLOSSARY]
    assert len(set(terms)) == len(terms) >= 40
    for row in GLOSSARY:
        assert set(row) - {"also"} == {"en", "zh", "in", "means"}
        assert re.search(r"[\u4e00-\u9fff]", row["zh"]), row["en"]
        assert row["means"].endswith(".") and len(row["means"]) > 15, row["en"]


def test_the_notebook_that_uses_a_term_first():
    """`test_the_tables_of_the_documents_are_up_to_date` compares the glossary with what this finds."""
    cell = nbformat.v4.new_markdown_cell("A gap. `mask` [it](gradient.md) `alstm export`\n```\nloss\n```")
    texts = {
        "01": site_tool.prose(nbformat.v4.new_notebook(cells=[cell])),
        "02": "GAP, exported; BiLSTM, lossless",
        "03": "Loss",
    }
    found = {term: site_tool.first_use(term, texts) for term in ("mask", "GAP", "export", "loss")}
    assert found == {"mask": "01", "GAP": "02", "export": "02", "loss": "03"}
    for term in ("gradient", "LSTM"):
        with pytest.raises(ValueError, match=f"no notebook uses '{term}'"):
            site_tool.first_use(term, texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_links_to_the_glossary(path):
    notebook = nbformat.read(path, as_version=4)
    assert any("](../docs/glossary.yml)" in cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_the_sections_that_the_workshop_names_exist():
    paths = {path.stem: path for path in NOTEBOOKS}
    for name, part in site_tool.HALF_DAY.items():
        assert set(part) <= site_tool.minutes_by_section(nbformat.read(paths[name], as_version=4)).keys(), name
