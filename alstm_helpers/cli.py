"""``alstm``: run the command, and turn every failure into one line."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import click

from alstm_helpers.commands import alstm
from alstm_helpers.errors import AlstmError, one_line, remedy_of
from alstm_helpers.extras import explained


def main() -> None:
    """Run the command: exit status 0 when it is done, 1 when it failed, 2 for wrong usage, 130 or 143 when stopped."""
    stops = _listen()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a console or a pipe that knows neither ✓ nor the names of classes
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # accepted anywhere
    try:
        alstm.main(args=arguments, prog_name="alstm", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `alstm … | head`: whoever read has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:  # Ctrl-C; click has ended the line that it stands in
        _end(signal.SIGINT)
    except Exception as error:
        if debug:
            traceback.print_exc()
        # While a module in C is imported, what a signal raises comes out as an ImportError, or as worse. But that work
        # could not be ended in order, such as on a full disk, must be said.
        if not stops or isinstance(error, AlstmError) or (isinstance(error, OSError) and error.errno is not None):
            click.echo(f"error: {one_line(' '.join(_sentence(error).split()))}", err=True)
        if stops:
            _end(stops[-1])
        sys.exit(1)


def _listen() -> list[int]:
    """End in order at signals: locks are given back, half-written files removed, workers ended.

    Returns:
        a list, to which each signal that comes is appended.
    """
    stops: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    def hang_up(number: int, frame: FrameType | None) -> None:
        """The terminal has gone: end as after SIGTERM, which ``alstm serve`` handles in its own way."""
        if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
            stop(signal.SIGTERM, frame)
        signal.raise_signal(signal.SIGTERM)

    for name, handler in (("SIGINT", stop), ("SIGTERM", stop), ("SIGHUP", hang_up)):  # Windows has no SIGHUP
        number = getattr(signal, name, None)  # nohup has it ignored
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, handler)
    return stops


def _end(number: int) -> NoReturn:
    """Exit with the status of a process that a signal has stopped."""
    if number == signal.SIGINT:
        click.echo("stopped by Ctrl-C", err=True)
    sys.exit(128 + number)


def _sentence(error: Exception) -> str:
    """Say what failed, where, and what to do."""
    if isinstance(error, ImportError):
        error = explained(error)
    if isinstance(error, AlstmError):
        return str(error)
    if isinstance(error, OSError):
        where = error.filename or error.filename2 or "system"
        where = os.fsdecode(where) if isinstance(where, bytes | str | os.PathLike) else str(where)
        return f"{where}: {error.strerror or error}; {remedy_of(error)}"
    if isinstance(error, MemoryError):
        return "memory: there is not enough; use a smaller batch, a smaller network or smaller shards"
    odd = [argument for argument in sys.argv if argument != argument.encode(errors="ignore").decode()]
    if odd or isinstance(error, UnicodeEncodeError):
        where = odd[0] if odd else error.object[max(0, error.start - 80) : error.end + 20]  # type: ignore[attr-defined]
        return f"{where}: a name that is not UTF-8 cannot be used here; rename the file or its folder"
    # A bug of this package; still one line, and the traceback for whoever wants to report it.
    return f"alstm: {type(error).__name__}: {error}; this is a bug in alstm, report it with what --debug shows"
