"""The command line."""

from __future__ import annotations

import argparse

DESCRIPTION = """\
Show the sockets, interfaces, routes and neighbours of a dead kernel, as netstat does. DUMP is a
vmcore of any format, a dump disk, /proc/kcore, or a line to a capture kernel (unix:PATH,
tcp:HOST:PORT). Without an option: --summary."""

EPILOG = """\
examples:
  xportshow -at vmcore               all of TCP
  xportshow -ltvv vmcore             listeners, with the connections that wait for them
  xportshow -tv --json vmcore        connections with windows, timers and queues, for programs
  xportshow -r --netns init vmcore   routes of the first network namespace"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        "xportshow",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("dump", metavar="DUMP", help="the dump")
    made.add_argument(
        "-s", "--vmlinux", metavar="FILE", help="debug vmlinux, where there is no BTF"
    )
    sockets = made.add_argument_group("sockets; without -t, -u, -w or -x: all kinds")
    add = sockets.add_argument
    add(
        "-a", "--all", action="store_true", help="sockets in all states; of routes, table local too"
    )
    add("-l", "--listening", action="store_true", help="only sockets that wait for others")
    add("-t", "--tcp", action="store_true", help="TCP")
    add("-u", "--udp", action="store_true", help="UDP and UDP-Lite")
    add("-w", "--raw", action="store_true", help="raw sockets")
    add("-x", "--unix", action="store_true", help="sockets between the machine's own programs")
    add(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="-v: buffers, windows, timers; -vv: the queues of listeners as well",
    )
    tables = made.add_argument_group("tables")
    add = tables.add_argument
    add(
        "-i",
        "--interfaces",
        action="store_true",
        help="interfaces, and the time since they last received and sent",
    )
    add("-r", "--routes", action="store_true", help="routing tables")
    add("-n", "--neighbours", action="store_true", help="neighbours: ARP and NDISC")
    add("--summary", action="store_true", help="numbers of sockets by state, and the interfaces")
    choice = made.add_argument_group("choice and form")
    family = choice.add_mutually_exclusive_group()
    family.add_argument("-4", dest="family", action="store_const", const=4, help="only IPv4")
    family.add_argument("-6", dest="family", action="store_const", const=6, help="only IPv6")
    choice.add_argument(
        "--netns",
        metavar="N",
        default="all",
        help="a network namespace: init, or the number of /proc/PID/ns/net",
    )
    choice.add_argument("--json", action="store_true", help="JSON, for programs")
    return made


class Options(argparse.Namespace):
    """The options of a call."""

    dump: str
    vmlinux: str | None
    all: bool
    listening: bool
    tcp: bool
    udp: bool
    raw: bool
    unix: bool
    verbose: int
    interfaces: bool
    routes: bool
    neighbours: bool
    summary: bool
    family: int | None
    netns: str
    json: bool


def parse(arguments: list[str] | None) -> Options:
    """Return the options; those that are meant where none is given are set."""
    options = parser().parse_args(arguments, Options())
    kinds = ("tcp", "udp", "raw", "unix")
    tables = ("interfaces", "routes", "neighbours", "summary")
    has_kind = any(getattr(options, kind) for kind in kinds)
    has_table = any(getattr(options, table) for table in tables)
    if not has_kind and not has_table:
        if options.all or options.listening or options.verbose:
            for kind in kinds:
                setattr(options, kind, True)
        else:
            options.summary = True
    return options
