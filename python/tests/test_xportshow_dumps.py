"""xportshow's rows beside what ss, ip and /proc said right before the kernels died.

Identity, state and queues are the same; times have moved by the time between the words and the end,
which both clocks know: that of the words (/proc/uptime before and after them) and the dump's. A
tick, and the time of a system call under emulation, are the rest of the bound.
"""

from __future__ import annotations

from collections import Counter

import pytest
import words
from kdump.net import Networks, Request, TcpSocket, TimeWait
from kdump.net.sockets import LISTEN

#: Ticks, and the time in which one socket is told, in seconds.
SLACK = 0.25
#: Kernels whose package has no modules: no diag, and no dummy interface.
BARE = {"amd64-7.2"}


@pytest.fixture(scope="module")
def networks(kernel):
    return Networks(kernel.dump)


@pytest.fixture(scope="module")
def passed(kernel):
    """Least and most seconds from words to the end: of ss on TCP by space, and of all others."""
    end = kernel.dump.section_data("sys")["data"]["uptime_ns"] / 1e9

    def since(before: str, after: str) -> tuple[float, float]:
        told = [float(kernel.said(f"uptime {when}").split()[0]) for when in (before, after)]
        return end - told[1] - SLACK, end - told[0] + SLACK

    found = {space: since(f"before {space}", f"after {space}") for space in words.SPACES}
    return found | {None: since("before main", "after")}


def of_space(rows, space: str):
    """The rows of a namespace as said.sh names it."""
    if space == "main":
        return [row for row in rows if row.namespace.is_first]
    # A third one, of `unshare`, has nothing but a loopback interface that is down.
    third = {
        row.namespace for row in rows if getattr(row, "name", "") == "lo" and not row.flags & 1
    }
    return [row for row in rows if not row.namespace.is_first and row.namespace not in third]


def pairs(kernel, networks, kind: str):
    """Rows of ss and ours, by both ends."""
    ours = list(getattr(networks, {"t": "tcp", "u": "udp", "w": "raw"}[kind])())
    assert not networks.problems
    for space in words.SPACES:
        told = words.sockets(kernel.said(f"ss {kind} {space}"))
        found = of_space(ours, space)
        key = {}
        for row in found:
            assert not row.problems
            key.setdefault((row.state, str(row.local), str(row.remote)), []).append(row)
        assert Counter(line.key for line in told) == Counter(
            {name: len(rows) for name, rows in key.items()}
        ), space
        for line in told:
            yield line, key[line.key].pop(0)


def test_tcp(kernel, networks, passed):
    states = Counter()
    compared = Counter()
    found = list(pairs(kernel, networks, "t"))
    # Clients whose servers still send SYN and ACK.
    asked = {(row.namespace, row.remote) for _, row in found if row.state == "SYN_RECV"}
    for line, row in found:
        since = passed["main" if row.namespace.is_first else "other"]
        states[row.state] += 1
        is_quiet = line.words.get("timer", "(keepalive").startswith("(keepalive")
        is_quiet &= (row.namespace, row.local) not in asked
        # Without inet_diag, ss takes /proc's word, which has no bound of a listener's queue.
        is_bound = row.number == LISTEN and line.memory
        assert (row.rx_queue, row.max_backlog if is_bound else row.tx_queue) == (
            line.rx,
            line.tx,
        ), line
        if isinstance(row, TcpSocket):
            assert row.inode == line.number("ino")
            check_memory(line, row, is_quiet, compared)
        if line.words.get("timer"):
            check_timer(line, row, since, compared)
        # /proc has no details but guesses of ss.
        if isinstance(row, TcpSocket) and row.details and "cwnd" in line.words and line.memory:
            check_details(line, row, since, is_quiet, compared)
    for state in ("LISTEN", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT2", "CLOSE_WAIT"):
        assert states[state] >= 2, states
    assert states["TIME_WAIT"] >= 2 and states["LISTEN"] >= 14, states
    if kernel.name not in BARE:
        assert compared["memory"] > 40 and compared["details"] > 20, compared
    assert compared["timer"] >= 2, compared
    print(f"{kernel.name}: {dict(states)}, {dict(compared)}")


def check_memory(line, row, is_quiet, compared) -> None:
    """Bytes in buffers are those of ss where nothing is sent any more."""
    memory = line.memory
    if memory:
        compared["memory"] += 1
        assert (row.rcvbuf, row.sndbuf) == (memory["rb"], memory["tb"])
        # Segments that a full queue or a shut window drops come again.
        comes_again = not is_quiet or row.backlog > row.max_backlog
        assert row.drops == memory["d"] or (comes_again and row.drops > memory["d"])
        assert row.rmem == memory["r"]
        if is_quiet:
            assert row.wmem == memory["t"]


def check_timer(line, row, passed, compared) -> None:
    kind, left, exact, tries = words.timer(line.words["timer"])
    if isinstance(row, TimeWait):
        assert kind == "timewait"
        found = row.ttd
    else:
        assert (row.timer.kind, row.timer.tries >= tries) == (kind, True), line
        found = row.timer.seconds
    # One that had less time left has fired, and another one runs.
    if left - passed[1] > 0:
        compared["timer"] += 1
        assert left - passed[1] <= found <= left + exact - passed[0], line


def check_details(line, row, passed, is_quiet, compared) -> None:
    found = row.details
    since = {"lastsnd": found.sent_ago, "lastrcv": found.received_ago, "lastack": found.acked_ago}
    for word, ago in since.items():
        if word not in line.words or ago is None:
            continue
        told = line.number(word) / 1000
        compared["times"] += 1
        # Those that wait for an answer ask again.
        assert (0 if not is_quiet else told + passed[0]) <= ago <= told + passed[1], (word, line)
    if not is_quiet:
        return
    compared["details"] += 1
    same = {
        "cwnd": found.cwnd,
        "mss": found.mss,
        "advmss": found.advmss,
        "bytes_sent": found.bytes_sent,
        "bytes_acked": found.bytes_acked,
        "bytes_received": found.bytes_received,
        "segs_out": found.segs_out,
        "segs_in": found.segs_in,
        "unacked": found.unacked,
        "retrans": found.total_retrans,
        "rto": round(found.rto * 1000),
    }
    assert same == {word: line.number(word) for word in same}, line
    rtt, rttvar = (float(part) for part in line.words.get("rtt", "0/0").split("/"))
    assert found.rtt * 1000 == pytest.approx(rtt, abs=0.001)
    assert found.rttvar * 1000 == pytest.approx(rttvar, abs=0.001)


def test_queues_of_a_listener(networks):
    rows = list(networks.tcp())
    for port in (7004, 7064):
        (row,) = (
            row
            for row in rows
            if row.number == LISTEN and row.local.port == port and row.namespace.is_first
        )
        assert (row.backlog, row.max_backlog, row.qlen) == (3, 2, 2)
        assert len(row.accept_queue) == 3 and len(row.syn_queue) == 2
        clients = {other.local for other in rows if other.remote == row.local}
        for request in row.accept_queue + row.syn_queue:
            assert isinstance(request, Request) and request.remote in clients


@pytest.mark.parametrize("kind", ["u", "w"])
def test_udp_and_raw(kernel, networks, kind):
    compared = Counter()
    for line, row in pairs(kernel, networks, kind):
        assert (row.rx_queue, row.tx_queue) == (line.rx, line.tx)
        # Without inet_diag, ss does not show all inodes.
        assert row.inode == line.number("ino") or (kernel.name in BARE and "ino" not in line.words)
        compared["queued"] += row.rx_queue > 0
        memory = line.memory
        if memory:
            compared["memory"] += 1
            assert (row.rmem, row.rcvbuf, row.sndbuf, row.drops) == (
                memory["r"],
                memory["rb"],
                memory["tb"],
                memory["d"],
            )
    assert compared["queued"] >= 3, compared
    print(f"{kernel.name} {kind}: {dict(compared)}")


def test_unix(kernel, networks):
    ours = list(networks.unix())
    assert not networks.problems
    if kernel.name in BARE:
        # ss asks unix_diag alone.
        told = [line.split(None, 7)[6:] for line in kernel.said("net_unix").splitlines()[1:]]
        named = {(int(inode), *path) for inode, *path in told if inode != "0"}
        found = {(row.inode, *[row.path][: row.path != ""]) for row in of_space(ours, "main")}
        assert named <= found and len(named) > 10
        return
    for space in words.SPACES:
        told = words.unix(kernel.said(f"ss x {space}"))
        found = of_space(ours, space)
        rows = [
            (row.type, row.state, row.rx_queue, row.tx_queue, row.path, row.inode, row.peer)
            for row in found
            # Those that are not yet accepted have no inode; ss leaves them out.
            if row.inode
        ]
        assert sorted(rows) == sorted(told)
        assert not any(row.problems for row in found)
    listeners = [row for row in ours if row.path.endswith("stream socket") and row.number == LISTEN]
    assert [len(row.waiting) for row in listeners] == [2]
    assert all(inode in [row.inode for row in ours] for inode in listeners[0].waiting)


def destinations(told: dict) -> tuple:
    hops = told.get("nexthops") or [told]
    return (
        told["dst"],
        told.get("type", "unicast"),
        told.get("table", "main"),
        told.get("metric", 0),
        told["protocol"],
        told.get("prefsrc", ""),
        told.get("nhid", 0),
        int(told.get("tos", "0"), 16),
        {name: value for part in told.get("metrics", []) for name, value in part.items()},
        sorted(
            (hop.get("gateway", ""), hop.get("dev", ""), hop.get("weight", 1))
            for hop in hops
            if "dev" in hop
        ),
    )


def ways(row) -> tuple:
    return (
        row.prefix,
        row.type,
        row.table,
        row.priority,
        row.protocol,
        row.source,
        row.hop_id,
        row.tos,
        row.metrics,
        sorted((hop.gateway, hop.interface, hop.weight) for hop in row.hops if hop.interface),
    )


@pytest.mark.parametrize("family", [4, 6])
def test_routes(kernel, networks, family):
    ours = [row for row in networks.routes() if row.family == family]
    assert not networks.problems
    count = 0
    for space in words.SPACES:
        told = words.rows(kernel.said(f"ip {family} route show table all {space}"))
        found = of_space(ours, space)
        assert not any(row.problems for row in found)
        assert sorted(map(repr, map(ways, found))) == sorted(map(repr, map(destinations, told)))
        count += len(told)
        if family == 4:
            scopes = {(row.prefix, row.table, row.priority): row.scope for row in found}
            for row in told:
                name = row["dst"], row.get("table", "main"), row.get("metric", 0)
                assert scopes[name] == row.get("scope", "global")
    assert count >= (4 if kernel.name in BARE else 15)
    print(f"{kernel.name}: {count} routes of IPv{family}")


@pytest.mark.parametrize("family", [4, 6])
def test_neighbours(kernel, networks, passed, family):
    ours = [row for row in networks.neighbours() if row.family == family]
    assert not networks.problems
    count = 0
    for space in words.SPACES:
        found = {(row.address, row.interface, row.is_proxy): row for row in of_space(ours, space)}
        assert not any(row.problems for row in found.values())
        for what, is_proxy in (("nud all", False), ("proxy", True)):
            told = words.rows(kernel.said(f"ip {family} neigh show {what} {space}"))
            for line in told:
                row = found.pop((line["dst"], line.get("dev", ""), is_proxy))
                if not is_proxy:
                    check_neighbour(line, row, passed[None])
                count += 1
        assert not found, space
    assert count >= (0 if kernel.name in BARE else 3)
    print(f"{kernel.name}: {count} neighbours of IPv{family}")


def check_neighbour(line, row, passed) -> None:
    # An entry that nobody answers is given up after some seconds.
    states = {"FAILED"} if line["state"] == ["INCOMPLETE"] else set()
    assert row.state in {*line["state"], *states}, line
    assert (row.hardware, row.is_router) == (line.get("lladdr", ""), "router" in line), line
    for name, ago in (("used", row.used_ago), ("updated", row.updated_ago)):
        assert line[name] + passed[0] <= ago <= line[name] + 1 + passed[1], (name, line)


def test_interfaces(kernel, networks):
    ours = networks.interfaces()
    assert not networks.problems
    for space in words.SPACES:
        found = {row.name: row for row in of_space(ours, space)}
        for line in words.rows(kernel.said(f"ip link {space}")):
            row = found[line["ifname"]]
            addresses = [f"{of['local']}/{of['prefixlen']}" for of in line.get("addr_info", [])]
            assert (row.index, row.mtu, row.hardware, sorted(row.addresses)) == (
                line["ifindex"],
                line["mtu"],
                line.get("address", ""),
                sorted(addresses),
            )
            assert ("UP" in row.flag_names) == ("UP" in line["flags"]) and not row.problems
    # Segments of TCP went by the loopback interface, which keeps no time itself.
    sent, received = (
        min(
            getattr(row.details, what)
            for row in networks.tcp()
            if isinstance(row, TcpSocket) and row.state == "ESTABLISHED" and row.namespace.is_first
        )
        for what in ("sent_ago", "received_ago")
    )
    loopback = ours[0]
    assert loopback.name == "lo" and not loopback.keeps_sent
    assert loopback.sent_by.startswith("TCP") and loopback.received_by.startswith("TCP")
    assert loopback.sent_ago <= sent and loopback.received_ago <= received
