"""xportshow's text, and what stands below it, without a dump."""

from __future__ import annotations

import kdump
import pytest
from kdump.net import Endpoint, Interface, Namespace, NextHop, Route, TcpSocket, TimeWait
from kdump.net.address import ipv4, ipv4_of_key, port
from kdump.net.clock import Clock, frequency
from kdump.net.tcp import Details, Timer, _difference
from kdump.net.walks import Problems, chain
from kdump.tools.xportshow import main, options, sockets, tables

SPACE = Namespace(4026531840, True, None)
ENDS = {"local": Endpoint("127.0.0.1", 9165), "remote": Endpoint("127.0.0.1", 47939)}
NUMBERS = dict.fromkeys((name for name in Details.__dataclass_fields__), 0)


def connection():
    times = {"acked_ago": 7.8, "sent_ago": 10.21, "received_ago": None}
    numbers = NUMBERS | times | {"rcv_wnd": 63480}
    row = TcpSocket("tcp", "<struct tcp_sock 0xf7580980>", SPACE, 4, 1, **ENDS)
    row.details = Details(**numbers | {"congestion": "cubic"})
    row.timer = Timer("on", 0.204, 3)
    return row


def test_a_connection_is_shown_as_in_figure_1():
    lines = list(sockets.lines("tcp", [connection()], 1))
    assert lines[1].split() == ["<struct", "tcp_sock", "0xf7580980>", "TCP"]
    assert lines[2].split() == ["tcp", "127.0.0.1:9165", "127.0.0.1:47939", "ESTABLISHED"]
    text = "\n".join(line.strip() for line in lines)
    assert "windows: rcv=63480, snd=0  advmss=0 rcv_ws=0 snd_ws=0" in text
    assert "rcv_tstamp=7.8 s ago, lrcvtime=never, lsndtime=10.2 s ago" in text
    assert "timer: on, 0.204 s left, 3 tries" in text


def test_what_cannot_be_read_stands_below_its_row():
    row = TimeWait("tcp", "<struct tcp_timewait_sock 0x1>", SPACE, 6, 6, **ENDS)
    row.attempt("timer", lambda: (_ for _ in ()).throw(kdump.MemoryFault("nothing at 0x8", 8)))
    lines = list(sockets.lines("tcp", [row, connection()], 0))
    assert [line.split()[:2] for line in lines] == [
        ["tcp6", "127.0.0.1:9165"], ["!!", "timer:"], ["tcp", "127.0.0.1:9165"],
    ]


def test_routes_stand_below_the_title_of_their_table():
    row = Route(None, SPACE, 4, 254, "198.18.6.0", 24, protocol="boot", scope="global")
    row.hops = [NextHop("192.0.2.1", "eth0", 2), NextHop("192.0.2.2", "eth0", 1, ("dead",))]
    lines = list(tables.routes([row]))
    assert lines[1] == "IPv4 routes of init, table main"
    assert lines[4].split()[:4] == ["198.18.6.0/24", "192.0.2.1", "eth0", "unicast"]
    assert lines[5].split() == ["192.0.2.2", "eth0", "weight", "1", "dead"]
    assert (row.prefix, Route(None, SPACE, 6, 254).prefix) == ("198.18.6.0/24", "default")


def test_a_sign_of_life_is_a_bound():
    row = Interface(None, SPACE, "eth0", sent_ago=2.71)
    row.received(4.2, "neighbour 192.0.2.1")
    row.received(5.0, "TCP of long ago")
    assert list(tables.moved([row]))[-1].split() == ["eth0", "<4.2", "2.7"]


def test_numbers_of_the_network():
    # 127.0.0.1 in the order of the network, read by a little-endian machine; and of a trie.
    assert ipv4(0x0100007F) == ipv4_of_key(0x7F000001) == "127.0.0.1"
    assert port(0xBB01) == 443
    assert _difference(5, 0xFFFFFFFB) == 10 and _difference(0xFFFFFFFB, 5) == -10


@pytest.mark.parametrize("hz", [100, 250, 300, 1000])
def test_times_are_known_without_a_variable_for_their_unit(hz):
    # Linux counts from -300 s on (INITIAL_JIFFIES).
    now = (1 << 32) - 300 * hz + 50 * hz
    clock = Clock(now, 50_000_000_000, 8)
    assert clock.hz == frequency(now, 50_000_000_000) == hz
    assert clock.since(now - 2 * hz) == 2 and clock.until(now + hz) == 1
    # 32 bits of a count that went through zero.
    later = Clock((1 << 32) + 10, 300_000_000_000 + 10_000_000_000 // hz, 8)
    assert later.since32(0xFFFFFFFB) == 15 / later.hz


def test_a_chain_in_circles_ends():
    class Link(int):
        next = None

    first, second = Link(8), Link(16)
    first.next, second.next = second, first
    found = Problems()
    assert list(found.each("links", chain(first, "next"))) == [8, 16]
    assert found.problems == ["links: the chain by next does not end at 0x8"]


def test_options_are_those_of_the_paper(capsys):
    chosen = options.parse(["-ltvv", "vmcore"])
    assert (chosen.tcp, chosen.listening, chosen.verbose, chosen.udp) == (True, True, 2, False)
    assert options.parse(["vmcore"]).summary and options.parse(["-a", "vmcore"]).unix
    with pytest.raises(SystemExit):
        main(["-h"])
    text = capsys.readouterr().out
    for option in "-a -t -u -x -w -l -v -i -r -n -4 -6 --summary --netns --json".split():
        assert option in text


def test_a_dump_that_is_none_is_an_error(capsys, tmp_path):
    (tmp_path / "vmcore").write_bytes(b"no dump" * 1000)
    assert main([str(tmp_path / "vmcore")]) == 1
    assert capsys.readouterr().err.startswith("xportshow: ")
