"""How a notebook runs headless: the stderr of its kernel is kept apart, and its executed copy is written at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyter_client import AsyncKernelManager
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines


def stderr_beside(connection: Path) -> Path:
    """Return the file that gets the stderr of the kernel with a connection file."""
    return connection.with_suffix(".stderr")


class KernelManager(AsyncKernelManager):  # type: ignore[misc]  # its package has no types here
    """Start a kernel whose stderr is a file beside its connection file.

    It is read if the kernel dies. Otherwise nobody needs it: what cells write is in the notebook anyway, and a kernel
    that is stopped while it begins can end with an assertion of libzmq, which looks like an error of the course.
    """

    async def start_kernel(self, **options: Any) -> None:
        """Start it; see the base class for the options."""
        with stderr_beside(Path(self.connection_file)).open("ab") as stderr:
            await super().start_kernel(stderr=stderr, **options)


def last_words(connection: Path) -> str:
    """Return the last line that a kernel wrote to stderr, or an empty string."""
    path = stderr_beside(connection)
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class _WriteAtEnd(NBClientEngine):  # type: ignore[misc]  # its package has no types here
    """papermill's engine, but the executed copy is written when the notebook has ended, whether or not that went well.

    papermill writes it before and after each cell. That takes 2 s of a notebook's 25 s or so.
    """

    @classmethod
    def execute_managed_notebook(cls, notebook: NotebookExecutionManager, kernel_name: str, **options: Any) -> None:
        """Run all cells; see the base class for the options."""
        copy, notebook.output_path = notebook.output_path, None
        try:
            super().execute_managed_notebook(notebook, kernel_name, **options)
        finally:
            notebook.output_path = copy  # papermill now writes it


WRITE_AT_END = "write_at_end"  # an engine's name for papermill
papermill_engines.register(WRITE_AT_END, _WriteAtEnd)
