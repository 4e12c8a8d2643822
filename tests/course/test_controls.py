"""Controls: a slider redraws its figure, and a run without JupyterLab shows the picture alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
from ipywidgets import VBox

from alstm_helpers.course.controls import Slider, interactive
from alstm_helpers.course.lab import Lab


@pytest.fixture
def displayed(tmp_path, monkeypatch):
    """Return what is displayed, and show a bar with two controls."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda item, **options: found.append((item, options)))

    def draw(height, share_of_width):
        figure, axes = plt.subplots(figsize=(1, 1))
        axes.bar([0], [height], width=share_of_width)
        axes.set(ylim=(0, 10))
        return figure

    def show():
        lab = Lab("01_model", profile="tiny", seed=0, data_dir=str(tmp_path / "data"), out_dir=str(tmp_path))
        interactive(lab, draw, "bar", alt="A bar.", height=Slider(0, 9, 3, 1), share_of_width=Slider(0.1, 1, 0.5))
        return found

    return show


def test_without_jupyterlab_there_is_the_picture_and_no_widget(displayed, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    ((picture, options),) = displayed()
    assert picture["text/plain"] == options["metadata"]["image/png"]["alt"] == "A bar."


def test_a_slider_redraws_the_figure_in_its_place(displayed, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/01_model.ipynb")
    (first, where), (box, _) = found = displayed()
    assert isinstance(box, VBox)
    height, width = box.children
    assert (height.description, height.min, height.max, height.step) == ("height", 0, 9, 1)
    assert (width.description, width.value) == ("share of width", 0.5)
    height.value = 8
    second, there = found[-1]
    assert first["image/png"] != second["image/png"] and "height 8, share of width 0.5" in second["text/plain"]
    assert where["display_id"] == there["display_id"] and there["update"] and not where["update"]
    assert not plt.get_fignums()
