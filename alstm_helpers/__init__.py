"""AttentionLSTM on YouTube-8M: the package behind the course notebooks.

The flow, one module a step::

    download → tfrecord → convert → pickles → lists ┐
    flashdigits ─ writes ─┘                         ├→ dataset → model → train → evaluate → predict → export → deploy
    (your videos → features)────────────────────────┘
    cli · config · runtime · metrics · plots · progress · course

Importing the package sets the thread variables that Paddle reads once, at its own import
(see :mod:`alstm_helpers.runtime`); it imports neither Paddle nor NumPy.
"""

from alstm_helpers import runtime

__version__ = "0.1.0"

runtime.configure_threads()
