"""Links that open a notebook without a set-up, on machines of others; all are made from the repository's address.

The address is ``Repository`` under ``[project.urls]`` in ``pyproject.toml``. Until it is there, there are no links.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import urlencode

GITHUB = "https://github.com/"
BRANCH = "main"
FIRST = "01_model"


def repository(pyproject: Path) -> str:
    """Return the public address of the repository, or an empty string if it has none."""
    urls = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"].get("urls", {})
    return str(urls.get("Repository", "")).removesuffix("/").removesuffix(".git")


def links(address: str, notebook: str = FIRST) -> dict[str, str]:
    """Return the links of a notebook by the name of the service that each leads to.

    Args:
        address: of the repository. All services but nbgitpuller read from GitHub alone.
        notebook: its name, such as ``03_data``.
    """
    file = f"notebooks/{notebook}.ipynb"
    pulled = {"repo": address, "branch": BRANCH, "urlpath": f"lab/tree/{address.rpartition('/')[2]}/{file}"}
    found = {"nbgitpuller": f"https://nbgitpuller.readthedocs.io/en/latest/link.html?{urlencode(pulled)}"}
    name = address.removeprefix(GITHUB)
    if not address or name == address:
        return found if address else {}
    blob = f"github/{name}/blob/{BRANCH}/{file}"
    return {
        "Colab": f"https://colab.research.google.com/{blob}",
        "Kaggle": f"https://kaggle.com/kernels/welcome?{urlencode({'src': f'{address}/blob/{BRANCH}/{file}'})}",
        "Binder": f"https://mybinder.org/v2/gh/{name}/{BRANCH}?{urlencode({'urlpath': f'lab/tree/{file}'})}",
        "Codespaces": f"https://codespaces.new/{name}?{urlencode({'quickstart': 1})}",
        **found,
    }


def row(address: str, notebook: str = FIRST, help_page: str = "docs/doors.md") -> str:
    """Return the links in a row of Markdown; AI Studio has none and gets ``help_page``. Empty without an address."""
    found = links(address, notebook)
    if found:
        found["AI Studio"] = f"{help_page}#baidu-ai-studio"
    return " · ".join(f"[{name}]({link})" for name, link in found.items())
