"""Controls that change a figure: sliders in JupyterLab; elsewhere the figure as it is at their first values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from alstm_helpers.language import say
from alstm_helpers.progress import on_a_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alstm_helpers.course.lab import Lab


class Slider(NamedTuple):
    """The range of a number, its value at first, and the steps in which it moves."""

    low: float
    high: float
    start: float
    step: float = 0.05


def interactive(lab: Lab, draw: Callable[..., Figure], name: str, *, alt: str, **controls: Slider) -> None:
    """Show a figure, and in JupyterLab a slider for each of the numbers that it depends on.

    Nothing but the picture is shown under papermill, so the executed notebook holds no widget.

    Args:
        lab: shows the figure, see :meth:`alstm_helpers.course.lab.Lab.show`.
        draw: returns the figure for the numbers, given by name.
        name: of the figure.
        alt: what it shows at first.
        controls: the numbers by name, with ``_`` for a space.
    """
    lab.show(draw(**{key: slider.start for key, slider in controls.items()}), name, alt=alt)
    if not on_a_page():
        return
    from IPython.display import display
    from ipywidgets import FloatSlider, VBox

    names = {key: say("evidence", key.replace("_", " ")) for key in controls}
    sliders = {
        key: FloatSlider(slider.start, min=slider.low, max=slider.high, step=slider.step, continuous_update=False)
        for key, slider in controls.items()
    }

    def redraw(change: object) -> None:
        values = {key: slider.value for key, slider in sliders.items()}
        said = ", ".join(f"{names[key]} {value:g}" for key, value in values.items())
        lab.show(draw(**values), name, alt=f"The same figure with {said}.", update=True)

    for key, slider in sliders.items():
        slider.description, slider.style.description_width = names[key], "initial"
        slider.observe(redraw, names="value")
    display(VBox(list(sliders.values())))  # type: ignore[no-untyped-call]
