"""Which language learners read: English, or Chinese, whose texts take the place of English ones as code is compiled."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "ALSTM_LANG"
ENGLISH, CHINESE = "en", "zh-CN"


def chosen(variables: Mapping[str, str] = os.environ, folder: str | None = None) -> str:
    """Return the language: that of ``ALSTM_LANG``, else of a notebook's folder, else of the system, else English.

    Args:
        variables: of the environment.
        folder: the current one, or the path of the notebook that is running; by default both are asked.
    """
    if variables.get(VARIABLE):
        return normalised(variables[VARIABLE])
    places = [variables.get("JPY_SESSION_NAME", ""), _current_folder()] if folder is None else [folder]
    if any(CHINESE in Path(place).parts for place in places):
        return CHINESE
    system = (variables.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return normalised(next(filter(None, system), ENGLISH))


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it is gone, as a command will say that needs it
        return ""


def normalised(name: str) -> str:
    """Return the language of this course that a name stands for, such as ``zh_CN.UTF-8``; English for all others."""
    return CHINESE if name.lower().startswith("zh") else ENGLISH


def folder_below(folder: Path) -> Path:
    """Return where a folder has what is made in the chosen language: the folder itself for English."""
    return folder if chosen() == ENGLISH else folder / chosen()


def say(context: str, text: str) -> str:
    """Return a text in the chosen language that is no literal where it is shown, such as a name from a file."""
    language = chosen()
    if language == ENGLISH:
        return text
    from alstm_helpers.translation import translate_in

    return translate_in(language, context)(text)


def install() -> None:
    """Translate what is imported from now on, and the cells of a notebook, if the chosen language is not English."""
    language = chosen()
    if language != ENGLISH:
        from alstm_helpers import translation  # imports what English never needs

        os.environ[VARIABLE] = language  # for processes that this one starts
        translation.install(language)
