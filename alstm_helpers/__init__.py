"""AttentionLSTM on YouTube-8M: the package behind the course notebooks.

One wing per chapter; nothing imports upwards::

    commands     the command alstm: parse, call, print                                  cli.main
    machine      doctor, bench                                                          chapter 2
    course       the notebooks' bench, runner and exercises                             all chapters
    own_videos   video files, labels → features; a file → its labels                    chapters 3.1 and 9
    training     train, resume, log, curves, cross-validation                           chapters 4 and 8
    deployment   export, predictor, HTTP server                                         chapter 6
    evaluation   metrics of a split, report, predictions, explanations                  chapter 5
    figures      plots and drawings
    model        the network, its weights and its loss                                  chapter 1
    data         download → convert → lists → batches; FlashDigits                      chapter 3
    ground       language translation errors extras paths files ledger progress runtime config
                 ranks loopback workers tfrecord safe_pickle pickles onnx_file metrics

Importing the package sets the thread variables that Paddle reads once, at its own import
(see :mod:`alstm_helpers.runtime`); it imports neither Paddle nor NumPy.
"""

from alstm_helpers import language

__version__ = "0.1.0"

language.install()  # before the modules whose strings it translates

from alstm_helpers import runtime  # noqa: E402

runtime.configure_threads()
