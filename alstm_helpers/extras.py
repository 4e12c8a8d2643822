"""Packages outside the core: which extra of this distribution brings each, and the one message if it is missing."""

from __future__ import annotations

import importlib.util

from alstm_helpers.errors import AlstmError

DISTRIBUTION = "attention-lstm-course"
EXTRAS = {  # as in pyproject.toml; each of these packages is imported by its own name
    "course": ("jupyterlab", "visualdl", "papermill", "nbformat", "nbconvert", "ipywidgets"),
    "onnx": ("onnx", "onnxruntime"),
    "serve": ("fastapi", "uvicorn"),
    "video": ("av", "scipy", "defusedxml"),
    "dask": ("distributed",),
    "clip": ("tokenizers",),
}
# Packages that come with one of these, and may be the first that an import misses.
_ALONG = {"IPython": "course", "jupyter_client": "course", "starlette": "serve", "dask": "dask"}
_EXTRA_OF = {package: extra for extra, packages in EXTRAS.items() for package in packages} | _ALONG


class NotInstalled(AlstmError):
    """A package is missing that this needs."""

    @classmethod
    def named(cls, package: str) -> NotInstalled:
        """Return the error for a package, with the command that installs it."""
        return cls(package, "not installed", install_line(_EXTRA_OF.get(package)))


def install_line(extra: str | None = None) -> str:
    """Return the command that installs an extra, or the core."""
    return f'pip install "{DISTRIBUTION}[{extra}]"' if extra else f"pip install {DISTRIBUTION}"


def is_installed(package: str) -> bool:
    """Return whether a package can be found; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def require(*packages: str) -> None:
    """Check that packages are installed, before work begins that ends with them.

    Raises:
        NotInstalled: one is not.
    """
    for package in packages:
        if not is_installed(package):
            raise NotInstalled.named(package)


def explained(error: ImportError) -> ImportError | NotInstalled:
    """Return the one message for an import that failed because its package is missing; any other error as it is."""
    package = (error.name or "").partition(".")[0]
    missing = isinstance(error, ModuleNotFoundError) and package and package != "alstm_helpers"
    return NotInstalled.named(package) if missing and not is_installed(package) else error
