"""How long a run will still take: a bar on a terminal and in JupyterLab, an occasional line in a log.

Library functions take a ``progress`` argument and wrap what they loop over in it; the caller chooses the form.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 30.0


class ProgressBar(Protocol):
    """What library functions wrap their loops in: :func:`progress_bar`, or :func:`no_progress`."""

    def __call__(
        self,
        items: Iterable[Item],
        *,
        total: int | None = None,
        desc: str = "",
        size: Callable[[Item], int] | None = None,
        total_size: int | None = None,
    ) -> Iterable[Item]:
        """Pass the items on, and show how many are done."""


def no_progress(items: Iterable[Item], **_: object) -> Iterable[Item]:
    """Return the items as they are, for callers that want no progress bar."""
    return items


def progress_bar(
    items: Iterable[Item],
    *,
    total: int | None = None,
    desc: str = "",
    size: Callable[[Item], int] | None = None,
    total_size: int | None = None,
) -> Iterable[Item]:
    """Draw a tqdm bar where one can be drawn, else print a line every half minute (none in a shorter run).

    Args:
        items: what to loop over; they are passed on.
        total: the number of items.
        desc: what is being done.
        size: the bytes of an item that is done, where bytes measure the time better than items do: then the bar shows
            MB/s and the time left by bytes, and the number of items beside them.
        total_size: the bytes of all items.
    """
    unit = {"total": total_size, "unit": "B", "unit_scale": True} if size else {"total": total}
    with _bar()(desc=desc, leave=False, **unit) as bar:
        for number, item in enumerate(items, start=1):
            if size:
                bar.set_postfix_str(f"{number}/{total}", refresh=False)
            bar.update(size(item) if size else 1)
            yield item


def on_a_page() -> bool:
    """Tell whether this is a kernel of a notebook that somebody has open, or a command that such a kernel started."""
    return "JPY_SESSION_NAME" in os.environ  # a Jupyter server sets it for its kernels, papermill does not


def _bar() -> Any:
    """Return the class of bar for where this process runs: a Jupyter kernel, a terminal, or neither."""
    from tqdm import tqdm

    if on_a_page() and "ipykernel" in sys.modules:
        return _below_a_cell(tqdm)
    return tqdm if sys.stderr.isatty() else _lines(tqdm)


def _below_a_cell(tqdm: Any) -> Any:
    """Return a bar of text in one place below its cell, which is empty when the bar is done.

    tqdm's own bar for notebooks is a widget, which a notebook that is saved and opened again cannot display.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    place = _place(shell.execution_count if shell else 0)

    class BelowCell(tqdm):  # type: ignore[misc]
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options, ascii=False, ncols=80, file=io.StringIO())

        def clear(self, *_: object, **__: object) -> None:
            pass  # nothing that is printed meanwhile gets in its way

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            place.update({"text/plain": str(self) if msg is None else msg}, raw=True)

    return BelowCell


@lru_cache(maxsize=1)
def _place(cell: int) -> Any:
    """Return where the bars of a cell are drawn, one after the other."""
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]


def _lines(tqdm: Any) -> Any:
    """Return a bar that writes whole lines, and few of them, however often it is asked to draw itself."""

    class Lines(tqdm):  # type: ignore[misc]
        last_line: float | None = None

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options, ncols=0, mininterval=SECONDS_BETWEEN_LINES, miniters=1)

        def clear(self, *_: object, **__: object) -> None:
            pass  # lines of a log do not get in each other's way

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            now = self._time()
            self.last_line = self.last_line or now  # the start counts as one
            if msg is None and now >= self.last_line + SECONDS_BETWEEN_LINES:  # "" would clear a bar
                self.last_line = now
                print(self, file=sys.stderr, flush=True)

    return Lines
