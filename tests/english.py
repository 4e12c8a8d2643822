"""Imported before the package: tests compare messages, which are English on every system then."""

import os

os.environ["ALSTM_LANG"] = "en"
