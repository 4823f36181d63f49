"""The tests that are run first on a dump of which nothing is known but "the host hangs".

Load and run queues, memory and its fragmentation, the system's log, network interfaces, tasks that
hang, the panic: section 1 of the PyKdump paper. Conclusions come first.

    crashinfo-py vmcore
    crashinfo-py --json vmcore syslog network
    kdump-python -m kdump.tools.crashinfo vmcore

A check reads the sections of crashinfo where one has the answer, and objects by
:mod:`kdump.API` elsewhere. Kernels that differ are met with pseudo-attributes.
"""

from __future__ import annotations

from kdump.tools.crashinfo.cli import CHECKS, examine, main

__all__ = ["CHECKS", "examine", "main"]
