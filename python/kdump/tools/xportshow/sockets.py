"""Text of sockets, as in the paper's figures 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kdump.net import RawSocket, Request, TcpSocket, TimeWait, UdpSocket, UnixSocket
from kdump.net.sockets import ESTABLISHED, LISTEN, Socket
from kdump.tools.xportshow.words import ago, number, struct, trouble

RULE = "-" * 78
INDENT = " " * 10


def head(kind: str, row: Socket) -> str:
    """Return the line of a socket: protocol, both ends, state."""
    name = row.protocol + ("6" if row.family == 6 else "")
    local, remote = (str(end) if end else "?" for end in (row.local, row.remote))
    if kind == "tcp" or row.number == ESTABLISHED:
        state = row.state
    else:
        state = f"st={row.number}"
    return f"{name:<6} {local:<26} {remote:<26} {state}".rstrip()


def lines(kind: str, rows: list[Any], verbose: int) -> Iterator[str]:
    """Yield the lines of the sockets of a kind."""
    if kind == "unix":
        yield from _unix(rows, verbose)
        return
    for row in rows:
        if verbose:
            yield RULE
            yield f"{struct(row.object):<44} {kind.upper()}"
        yield head(kind, row)
        if verbose:
            yield from (INDENT + line for line in details(row))
        if verbose > 1 and isinstance(row, TcpSocket):
            yield from queues(row)
        yield from trouble(row)


def details(row: Socket) -> Iterator[str]:
    """Yield the lines of -v."""
    if isinstance(row, TimeWait):
        yield f"ttd={number(row.ttd, 3)} s"
    elif isinstance(row, Request):
        yield f"listener={row.listener:#x}"
        yield from _timer(row)
    elif isinstance(row, TcpSocket):
        yield from _listener(row) if row.number == LISTEN else _connection(row)
    elif isinstance(row, UdpSocket):
        yield from _buffers(row)
        corked = "" if row.corked is None else f" corkflag={int(row.corked)},"
        yield f"pending={row.pending},{corked} len={row.length}"
    elif isinstance(row, RawSocket):
        yield from _buffers(row)
    yield from _owner(row)


def _owner(row: Socket) -> Iterator[str]:
    interface = f", interface={row.interface}" if row.interface else ""
    space = (
        f", netns={row.namespace}" if row.namespace is None or not row.namespace.is_first else ""
    )
    held = f"inode={row.inode}, uid={row.uid}" if not isinstance(row, TimeWait | Request) else ""
    text = (held + interface + space).removeprefix(", ")
    if text:
        yield text


def _listener(row: TcpSocket) -> Iterator[str]:
    yield f"family={'PF_INET6' if row.family == 6 else 'PF_INET'}"
    yield f"backlog={row.backlog}({row.max_backlog})"
    yield f"qlen={row.qlen} qlen_young={row.qlen_young}"


def _connection(row: TcpSocket) -> Iterator[str]:
    found = row.details
    if found:
        yield (
            f"windows: rcv={found.rcv_wnd}, snd={found.snd_wnd}  advmss={found.advmss} "
            f"rcv_ws={found.rcv_wscale} snd_ws={found.snd_wscale}"
        )
        yield f"nonagle={found.nonagle} sack_ok={found.sack_ok} tstamp_ok={found.tstamp_ok}"
    yield f"rmem_alloc={row.rmem}, wmem_alloc={row.wmem}"
    yield from _buffers(row)
    if found:
        yield (
            f"rcv_tstamp={ago(found.acked_ago)}, lrcvtime={ago(found.received_ago)}, "
            f"lsndtime={ago(found.sent_ago)}"
        )
        yield (
            f"cwnd={found.cwnd} ssthresh={found.ssthresh} mss={found.mss} "
            f"rtt={number(found.rtt * 1000, 3)}/{number(found.rttvar * 1000, 3)} ms "
            f"rto={number(found.rto * 1000, 0)} ms ({found.congestion})"
        )
        yield (
            f"unacked={found.unacked} retrans={found.retrans_out}/{found.total_retrans} "
            f"lost={found.lost} sacked={found.sacked} backoff={found.backoff}"
        )
        yield (
            f"bytes: sent={found.bytes_sent} acked={found.bytes_acked} "
            f"received={found.bytes_received}  segments: out={found.segs_out} in={found.segs_in}"
        )
    yield from _timer(row)


def _timer(row: Any) -> Iterator[str]:
    if row.timer:
        left, tries = number(row.timer.seconds, 3), row.timer.tries
        yield f"timer: {row.timer.kind}, {left} s left, {tries} tries"


def _buffers(row: Any) -> Iterator[str]:
    yield f"rx_queue={row.rx_queue}, tx_queue={row.tx_queue}"
    drops = f", drops={row.drops}" if row.drops else ""
    yield f"rcvbuf={row.rcvbuf}, sndbuf={row.sndbuf}{drops}"


def queues(row: TcpSocket) -> Iterator[str]:
    """Yield the connections that wait for a listener."""
    if row.accept_queue:
        yield f"     --- Accept Queue {struct(row.accept_queue[0].object)}"
        yield from (_request(request) for request in row.accept_queue)
    if row.syn_queue:
        yield f"     --- SYN-Queue {struct(row.syn_queue[0].object)}"
        yield from (_request(request) for request in row.syn_queue)


def _request(row: Request) -> str:
    timer = (
        f"  timer {number(row.timer.seconds, 3)} s, {row.timer.tries} tries" if row.timer else ""
    )
    return f"{INDENT}laddr={row.local} raddr={row.remote}{timer}"


def _unix(rows: list[UnixSocket], verbose: int) -> Iterator[str]:
    queue = f"{'RX':>7} {'TX':>7} {'Peer':>8}  " if verbose else ""
    yield f"unix   State        {queue}{'I-node':>8}  Path"
    yield RULE
    for row in rows:
        if verbose:
            queue = f"{row.rx_queue:>7} {row.tx_queue:>7} {row.peer or '-':>8}  "
        yield f"unix   {row.state:<12} {queue}{row.inode:>8}  {row.path}".rstrip()
        if verbose:
            space = f", netns={row.namespace}" if str(row.namespace) != "init" else ""
            yield f"{INDENT}{struct(row.object)} {row.type}, uid={row.uid}{space}"
        if verbose > 1 and row.waiting:
            yield f"     --- Accept Queue: I-nodes {' '.join(map(str, row.waiting))}"
        yield from trouble(row)
