"""Call a function that a learner has written: its errors, its damage to its arguments and endless loops get a sentence.

They run in a thread of their own, which is stopped by an exception when its time is up. A signal would work on the main
thread of Linux and macOS only. What cannot be interrupted, such as a long sleep, is left behind.
"""

from __future__ import annotations

import contextvars
import ctypes
import inspect
import linecache
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import TypeVar

from alstm_helpers.course.exercises.answers import NotYet, a_type

SECONDS = 10.0  # for all calls of one check

T = TypeVar("T")
Function = Callable[..., object]  # a function that a learner has written


class Raised(NotYet):
    """A learner's function has raised an error.

    Args:
        error: which one.
        text: the sentence about it.
    """

    def __init__(self, error: BaseException, text: str) -> None:
        super().__init__(text)
        self.error = error


class _Stopped(SystemExit):
    """Ends a thread that has used up its time. ``except Exception`` lets it pass, and threads do not report it."""


class Attempt:
    """A learner's function; calling it raises NotYet, with a sentence, for whatever goes wrong.

    Args:
        answer: the learner's answer, of any type.

    Raises:
        NotYet: it is not a function.
    """

    def __init__(self, answer: object) -> None:
        if isinstance(answer, type):
            raise NotYet("that is a class; give a function")
        if not callable(answer):
            raise NotYet(f"that is {a_type(answer)}; give the function itself, without calling it")
        if inspect.iscoroutinefunction(answer) or inspect.isasyncgenfunction(answer):
            raise NotYet("that is an async function; define it with def alone")
        self.function: Function = answer

    def __call__(self, *arguments: object, **options: object) -> object:
        """Call the function, and compare its arguments before and after.

        Raises:
            Raised: the function raises an error.
            NotYet: it changes its arguments, or returns nothing that can be judged.
        """
        before = pickle.dumps(arguments)
        try:
            found = self.function(*arguments, **options)
        except _Stopped:
            raise
        except BaseException as error:  # in this thread, KeyboardInterrupt is the learner's own, too
            raise Raised(error, _told(error)) from None
        if pickle.dumps(arguments) != before:
            raise NotYet("it changes the data that it is given; work on a copy")
        if found is None:
            raise NotYet("it returns None; does it end with return?")
        if inspect.iscoroutine(found):
            found.close()  # or Python warns that nobody has awaited it
        if isinstance(found, Iterator):
            raise NotYet(f"it returns {a_type(found)}; return the values themselves, as list(…) gives them")
        return found


def _told(error: BaseException) -> str:
    """Return type, line and text of an error that came out of a learner's function, as one sentence."""
    frames = list(traceback.walk_tb(error.__traceback__))[1:]  # the first one is the call in this module
    where = ""
    if frames:
        file = frames[0][0].f_code.co_filename
        line = [number for frame, number in frames if frame.f_code.co_filename == file][-1]
        code = linecache.getline(file, line).strip()
        where = f" in line {line}" + (f", `{code[:60]}`" if code else "")
    text = " ".join(str(error).split())[:120]
    return f"it raises {a_type(error)}{where}" + (f": {text}" if text else "")


def within_time(work: Callable[[], T]) -> T:
    """Do something and return its result.

    Raises:
        NotYet: it did not finish within ``SECONDS``.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    try:
        thread.join(SECONDS)
    finally:  # also when the learner interrupts the kernel
        finished = not thread.is_alive()
        _stop(thread)
    if not finished:
        raise NotYet(f"it did not finish within {SECONDS:g} seconds; is there a loop that never ends?")
    if errors:
        raise errors[0]
    return results[0]


def _stop(thread: threading.Thread) -> None:
    """Raise an exception in a thread until it has ended; again and again, since a bare ``except`` may catch it."""
    for _ in range(20):
        if not thread.is_alive() or thread.ident is None:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Stopped))
        thread.join(0.05)
