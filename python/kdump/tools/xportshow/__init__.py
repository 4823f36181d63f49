"""xportshow: sockets, interfaces, routes and neighbours of a dead kernel, as netstat shows them.

The options and the layout are those of PyKdump's xportshow (A. Sidorenko, "Programmatic Kernel Dump
Analysis On Linux", 2009, section 3).
"""

from kdump.tools.xportshow.program import main

__all__ = ["main"]
