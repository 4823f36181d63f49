"""TCP: connections, listeners with their queues, TIME_WAIT (Linux, net/ipv4/tcp_ipv4.c)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kdump import Dump, cast
from kdump.net.clock import Clock
from kdump.net.namespaces import Namespace
from kdump.net.sockets import LISTEN, NEW_SYN_RECV, TIME_WAIT, Memory, Reader, Socket
from kdump.net.walks import MOST_LINKS, Problems, buckets, chain

#: Kinds of `icsk_pending` (include/net/inet_connection_sock.h), by the names of ss.
PENDING = {1: "on", 3: "persist", 5: "on", 6: "on"}
PERSIST = 3


@dataclass(frozen=True)
class Timer:
    """A timer: its kind as ss names it, the seconds that it still has, and tries before."""

    kind: str
    seconds: float
    tries: int = 0


@dataclass
class Request(Socket):
    """A connection that is not yet accepted; in the SYN queue ``number`` is that of NEW_SYN_RECV.

    ``child`` is the socket of one that waits to be accepted, ``listener`` the address of the
    socket that listens.
    """

    listener: int = 0
    child: Any = None
    timer: Timer | None = None


@dataclass
class TimeWait(Socket):
    """A connection after its end. ``ttd`` are the seconds that it still has."""

    ttd: float | None = None


@dataclass
class Details:
    """Numbers of a connection that ``ss -i`` and xportshow show; times in seconds, sizes in bytes.

    ``received_ago`` is the time since the last segment with data, ``acked_ago`` that since any
    segment that acknowledged, ``sent_ago`` that since the last one that was sent.
    """

    rcv_wnd: int
    snd_wnd: int
    advmss: int
    rcv_wscale: int
    snd_wscale: int
    sack_ok: int
    tstamp_ok: int
    nonagle: int
    rto: float
    rtt: float
    rttvar: float
    mss: int
    cwnd: int
    ssthresh: int
    backoff: int
    retransmits: int
    unacked: int
    retrans_out: int
    total_retrans: int
    lost: int
    sacked: int
    bytes_sent: int
    bytes_acked: int
    bytes_received: int
    segs_out: int
    segs_in: int
    congestion: str
    received_ago: float | None
    acked_ago: float | None
    sent_ago: float | None


@dataclass
class TcpSocket(Memory):
    """A socket of TCP. ``backlog`` and the queues belong to one that listens.

    ``received_on`` and ``sent_on`` are the indices of the interfaces that segments came and went
    by, 0 if not known.
    """

    details: Details | None = None
    timer: Timer | None = None
    received_on: int = 0
    sent_on: int = 0
    backlog: int = 0
    max_backlog: int = 0
    qlen: int = 0
    qlen_young: int = 0
    accept_queue: list[Request] = field(default_factory=list)
    syn_queue: list[Request] = field(default_factory=list)


def hash_tables(dump: Dump, spaces: Iterator[Namespace]) -> list[Any]:
    """Return the hash tables of TCP: most namespaces share one."""
    if dump.has_member("struct net", "ipv4.tcp_death_row.hashinfo"):
        tables = [space.net.TcpHash for space in spaces]
    else:
        tables = []
    tables.append(dump.symbol("tcp_hashinfo"))
    return list({int(table): table for table in tables if table}.values())


class Tcp:
    """Reads the sockets of TCP."""

    def __init__(self, reader: Reader, clock: Clock | None, found: Problems) -> None:
        self.reader, self.clock, self.found = reader, clock, found
        self.dump = reader.dump
        self.has_own_list = self.dump.has_member(
            "struct inet_connection_sock", "icsk_listen_portaddr_node"
        )

    def sockets(self) -> Iterator[TcpSocket | TimeWait | Request]:
        """Yield all of them: those that listen, then the others as the hash table has them.

        The SYN queue of one that listens is made of the requests among the others: it is there
        when all rows were taken.
        """
        spaces = iter(self.reader.spaces.values())
        tables = self.found.attempt("tables of TCP", lambda: hash_tables(self.dump, spaces), [])
        listeners = {}
        for row in self.listeners(tables):
            listeners[int(row.object)] = row
            yield row
        for row in self.others(tables):
            if isinstance(row, Request) and row.listener in listeners:
                listeners[row.listener].syn_queue.append(row)
            yield row

    def listeners(self, tables: list[Any]) -> Iterator[TcpSocket]:
        """Yield the sockets that listen."""
        stride = self.dump.sizeof("struct inet_listen_hashbucket")
        seen = set()
        for table in tables:
            array, count = table.lhash2, table.lhash2_mask + 1
            if int(array) in seen:
                continue
            seen.add(int(array))
            place = self.dump.offsetof("struct inet_listen_hashbucket", "nulls_head")
            heads = buckets(self.dump, array, count, stride, place)
            for head in self.found.each("table of listeners", heads):
                for sock in self.found.each(f"listeners {head:#x}", self._listening(head)):
                    yield self._socket(sock)

    def _listening(self, head: int) -> Iterator[Any]:
        if self.has_own_list:
            member = "icsk_listen_portaddr_node"
            return iter(self.dump.hlist(head, "struct inet_connection_sock", member))
        return iter(self.dump.hlist_nulls(head, "struct sock_common", "skc_nulls_node"))

    def others(self, tables: list[Any]) -> Iterator[TcpSocket | TimeWait | Request]:
        """Yield connections, those in TIME_WAIT, and requests for one."""
        stride = self.dump.sizeof("struct inet_ehash_bucket")
        seen = set()
        for table in tables:
            array, count = table.ehash, table.ehash_mask + 1
            if int(array) in seen:
                continue
            seen.add(int(array))
            for head in self.found.each("table of TCP", buckets(self.dump, array, count, stride)):
                steps = self.dump.hlist_nulls(head, "struct sock_common", "skc_nulls_node")
                for common in self.found.each(f"TCP bucket {head:#x}", steps):
                    yield self._of_state(common)

    def _of_state(self, common: Any) -> TcpSocket | TimeWait | Request:
        state = self.found.attempt("state of a socket", lambda: common.skc_state)
        if state == TIME_WAIT:
            return self._time_wait(common)
        if state == NEW_SYN_RECV:
            return self._request(common)
        return self._socket(common)

    def _common(self, row: Socket, common: Any) -> None:
        row.namespace = row.attempt("namespace", lambda: self.reader.space(common))
        row.attempt("addresses", lambda: self.reader.common(row, common))

    def _until(self, tick: int) -> float | None:
        return self.clock.until(tick) if self.clock else None

    def _since(self, tick: int) -> float | None:
        # 0 stands for never.
        return self.clock.since32(tick) if self.clock and tick else None

    def _time_wait(self, common: Any) -> TimeWait:
        sock = cast(common, "struct tcp_timewait_sock")
        row = TimeWait("tcp", sock, None)
        self._common(row, common)
        inet = sock.tw_sk
        # FIN_WAIT2 without a program ends here as well.
        row.number = row.attempt("state", lambda: inet.tw_substate, row.number)
        row.ttd = row.attempt("timer", lambda: self._until(inet.tw_timer.expires))
        return row

    def _request(self, common: Any) -> Request:
        sock = cast(common, "struct tcp_request_sock")
        row = Request("tcp", sock, None)
        self._common(row, common)
        row.listener = row.attempt("listener", lambda: int(common.skc_listener), 0)
        row.timer = row.attempt("timer", lambda: self._request_timer(sock.req.req))
        return row

    def _request_timer(self, request: Any) -> Timer | None:
        left = self._until(request.rsk_timer.expires)
        return None if left is None else Timer("on", left, request.num_retrans)

    def _socket(self, common: Any) -> TcpSocket:
        sock = cast(common, "struct tcp_sock")
        row = TcpSocket("tcp", sock, None)
        inet = sock.inet_conn
        self._common(row, inet.icsk_inet.sk.Common)
        row.attempt("buffers", lambda: self.reader.memory(row, inet.icsk_inet.sk))
        if row.number == LISTEN:
            row.attempt("queues", lambda: self._queues(row, inet))
        else:
            row.attempt("queues", lambda: self._bytes(row, sock))
            row.details = row.attempt("details", lambda: self._details(sock, inet))
            row.timer = row.attempt("timer", lambda: self._timer(inet))
            row.sent_on = row.attempt("route", lambda: self._sent_on(inet.icsk_inet.sk), 0)
            row.received_on = row.attempt("interface", lambda: inet.ReceivedOn, 0)
        return row

    def _queues(self, row: TcpSocket, inet: Any) -> None:
        sk, queue = inet.icsk_inet.sk, inet.icsk_accept_queue
        row.backlog, row.max_backlog = sk.sk_ack_backlog, sk.sk_max_ack_backlog
        row.rx_queue = row.backlog
        row.qlen, row.qlen_young = queue.qlen.counter, queue.young.counter
        waiting = chain(queue.rskq_accept_head, "dl_next", MOST_LINKS)
        for request in row.each("accept queue", waiting):
            row.accept_queue.append(self._accepted(request))

    def _accepted(self, request: Any) -> Request:
        common = request.Common
        row = Request("tcp", cast(request, "struct tcp_request_sock"), None)
        self._common(row, common)
        row.child = row.attempt("socket", lambda: cast(request.sk, "struct tcp_sock"))
        return row

    @staticmethod
    def _sent_on(sk: Any) -> int:
        """Return the index of the interface of the route that the socket holds."""
        route = sk.sk_dst_cache
        return route.dev.ifindex if route and route.dev else 0

    @staticmethod
    def _bytes(row: TcpSocket, sock: Any) -> None:
        row.rx_queue = max(_difference(sock.rcv_nxt, sock.copied_seq), 0)
        row.tx_queue = _difference(sock.write_seq, sock.snd_una)

    def _timer(self, inet: Any) -> Timer | None:
        """Return the timer that ss shows: that for sending, else that of keep-alive."""
        pending, left = inet.icsk_pending, None
        if pending in PENDING:
            left = self._until(inet.Retransmit)
            tries = inet.icsk_probes_out if pending == PERSIST else inet.icsk_retransmits
            return None if left is None else Timer(PENDING[pending], left, tries)
        if inet.Keepalive.entry.pprev:
            left = self._until(inet.Keepalive.expires)
        return None if left is None else Timer("keepalive", left, inet.icsk_probes_out)

    def _details(self, sock: Any, inet: Any) -> Details:
        options = sock.rx_opt
        return Details(
            rcv_wnd=sock.rcv_wnd,
            snd_wnd=sock.snd_wnd,
            advmss=sock.advmss,
            rcv_wscale=options.rcv_wscale,
            snd_wscale=options.snd_wscale,
            sack_ok=options.sack_ok,
            tstamp_ok=options.tstamp_ok,
            nonagle=sock.nonagle,
            rto=self.clock.seconds(inet.icsk_rto) if self.clock else 0.0,
            # Both are kept in microseconds with bits behind the point.
            rtt=(sock.srtt_us >> 3) / 1e6,
            rttvar=(sock.mdev_us >> 2) / 1e6,
            mss=sock.mss_cache,
            cwnd=sock.snd_cwnd,
            ssthresh=sock.snd_ssthresh,
            backoff=inet.icsk_backoff,
            retransmits=inet.icsk_retransmits,
            unacked=sock.packets_out,
            retrans_out=sock.retrans_out,
            total_retrans=sock.total_retrans,
            lost=sock.lost_out,
            sacked=sock.sacked_out,
            bytes_sent=sock.bytes_sent,
            bytes_acked=sock.bytes_acked,
            bytes_received=sock.bytes_received,
            segs_out=sock.segs_out,
            segs_in=sock.segs_in,
            congestion=str(inet.icsk_ca_ops.name),
            received_ago=self._since(inet.icsk_ack.lrcvtime),
            acked_ago=self._since(sock.rcv_tstamp),
            sent_ago=self._since(sock.lsndtime),
        )


def _difference(later: int, earlier: int) -> int:
    """Return the distance of two numbers in a sequence of 32 bits."""
    distance = (later - earlier) & 0xFFFFFFFF
    return distance - (1 << 32) if distance >> 31 else distance
