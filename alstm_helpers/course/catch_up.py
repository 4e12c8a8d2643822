"""For whoever is behind in a workshop: run what is missing of a notebook, without its pictures."""

from __future__ import annotations

import time
from typing import Any

from alstm_helpers.errors import AlstmError
from alstm_helpers.paths import project_root


def catch_up(notebook: str, cell: str = "catch-up", space: dict[str, Any] | None = None) -> str:
    """Run the cells of a notebook that stand before ``cell`` and have not run in this kernel; exercises are left out.

    Args:
        notebook: its name, as ``01_model``.
        cell: the id of the cell that calls this.
        space: the variables to run in, with the sources that have run under ``In``; by default those of the kernel.

    Returns:
        What was done, in one line.

    Raises:
        AlstmError: one of the cells fails.
    """
    import nbformat
    from IPython.core.getipython import get_ipython
    from IPython.utils.capture import capture_output

    if space is None:
        space = get_ipython().user_ns  # type: ignore[no-untyped-call]
    cells = nbformat.read(project_root() / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    above = cells[: next(place for place, each in enumerate(cells) if each.id == cell)]
    run = {source.strip() for source in space.get("In", [])}
    missing = [
        each
        for each in above
        if each.cell_type == "code"
        and each.source.strip() not in run
        and not each.id.startswith("ex-")
        # The parameters may have been set by the learner, or by papermill.
        and not ("parameters" in each.metadata.get("tags", []) and "PROFILE" in space)
    ]
    start = time.perf_counter()
    for count, each in enumerate(missing, 1):
        print(f"\rcell {count} of {len(missing)}", end="", flush=True)
        try:
            with capture_output():  # type: ignore[no-untyped-call]
                exec(compile(each.source, f"<{notebook}: {each.id}>", "exec"), space)  # noqa: S102 - the course's own cells
        except Exception as error:
            print()
            raise AlstmError(f"{notebook}, cell {each.id}", str(error), "run the cells from the top on") from error
    if not missing:
        return "all the cells above have run: you are not behind"
    print()
    return f"{len(missing)} cells above have now run, in {time.perf_counter() - start:.0f} s; go on here"
