"""``kdump-python``: an ordinary Python with a dump open as the current one."""

from __future__ import annotations

import argparse
import code
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

import kdump

EPILOG = """\
The dump is a vmcore of any format, a dump disk, /proc/kcore, or a line to a capture kernel
(unix:PATH, tcp:HOST:PORT). It is the current dump of kdump.API and the variable `dump`. A script
finds the arguments after the dump in sys.argv[1:].

examples:
  kdump-python script.py vmcore -v
  kdump-python -c 'print(dump.symbol("init_task").comm)' vmcore
  kdump-python -m kdump.tools.crashinfo vmcore
  kdump-python vmcore                    the names of kdump.API at a prompt
"""


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Read the command line; the options end at the first word that is none."""
    parser = argparse.ArgumentParser(
        "kdump-python",
        description="Run a Python program with a dump open.",
        usage="%(prog)s [-i] [-s VMLINUX] [-n NUMBER] [SCRIPT|-c CODE|-m MODULE] DUMP [ARG ...]",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-i", action="store_true", help="a prompt after the program, as python -i")
    parser.add_argument("-s", metavar="VMLINUX", help="a file with the kernel's debug information")
    parser.add_argument("-n", metavar="NUMBER", type=int, help="the dump's number on a dump disk")
    program = parser.add_mutually_exclusive_group()
    program.add_argument("-c", metavar="CODE", help="run this code")
    program.add_argument("-m", metavar="MODULE", help="run this module, as python -m")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    found = parser.parse_args(words)
    is_script = found.c is None and found.m is None and len(found.words) > 1
    found.script = found.words.pop(0) if is_script else None
    if not found.words:
        parser.error("a dump is needed: kdump-python SCRIPT DUMP")
    found.dump = found.words.pop(0)
    return found


def namespace(dump: kdump.Dump) -> dict[str, Any]:
    """Return the names of code that is typed: those of kdump.API, ``kdump`` and ``dump``."""
    names: dict[str, Any] = {"__name__": "__main__", "kdump": kdump, "dump": dump}
    exec("from kdump.API import *", names)  # noqa: S102 - our own names
    return names


def program(found: argparse.Namespace, dump: kdump.Dump) -> Callable[[], dict[str, Any]]:
    """Return a function that runs the program and returns its names."""
    if found.c is not None:
        sys.argv = ["-c", *found.words]
        sys.path.insert(0, "")

        def run() -> dict[str, Any]:
            names = namespace(dump)
            exec(compile(found.c, "<string>", "exec"), names)  # noqa: S102 - the user's code
            return names

        return run
    if found.m is not None:
        sys.argv = [found.m, *found.words]
        sys.path.insert(0, os.getcwd())
        return lambda: runpy.run_module(found.m, {"dump": dump}, "__main__", alter_sys=True)
    if found.script is not None:
        sys.argv = [found.script, *found.words]
        sys.path.insert(0, os.path.dirname(os.path.abspath(found.script)))
        return lambda: runpy.run_path(found.script, {"dump": dump}, "__main__")
    sys.argv = [""]
    sys.path.insert(0, "")
    return lambda: namespace(dump)


def own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that is the user's program."""
    ours = (__file__, runpy.__file__, "<frozen runpy>")
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace


def finish(run: Callable[[], dict[str, Any]], names: dict[str, Any]) -> int:
    """Run the program to its end; put its names into ``names``, and return its exit code."""
    try:
        names.update(run())
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        trace = own_frames(error.__traceback__)
        names.update(trace.tb_frame.f_globals if trace is not None else {})
        traceback.print_exception(type(error), error, trace)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def prompt(names: dict[str, Any]) -> None:
    """Let the user type, with history and completion where Python has them."""
    try:
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    except ImportError:
        pass
    dump = kdump.current()
    banner = (
        f"kdump on Python {sys.version.split()[0]}: {dump.release or 'a kernel'} in {dump.path}"
    )
    code.interact(banner, local=names, exitmsg="")


def main(words: list[str] | None = None) -> int:
    """Run ``kdump-python``; the exit code is the program's."""
    found = arguments(words)
    try:
        dump = kdump.open(found.dump, found.s, found.n)
    except kdump.Error as error:
        print(f"kdump-python: {error}", file=sys.stderr)
        return 2
    names = namespace(dump)
    status = finish(program(found, dump), names)
    is_prompt = found.c is None and found.m is None and found.script is None
    if found.i or is_prompt:
        prompt(names)
        return 0
    return status


if __name__ == "__main__":
    sys.exit(main())
