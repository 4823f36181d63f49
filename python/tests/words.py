"""Words of ss and ip about a kernel right before it died, as rows (iproute2 6.1)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

#: States as ss names them, by the names of the kernel.
STATES = {
    "ESTAB": "ESTABLISHED",
    "SYN-SENT": "SYN_SENT",
    "SYN-RECV": "SYN_RECV",
    "FIN-WAIT-1": "FIN_WAIT1",
    "FIN-WAIT-2": "FIN_WAIT2",
    "TIME-WAIT": "TIME_WAIT",
    "CLOSE-WAIT": "CLOSE_WAIT",
    "LAST-ACK": "LAST_ACK",
    "UNCONN": "CLOSE",
    "LISTEN": "LISTEN",
}
SPACES = ("main", "other")
"""The two network namespaces, as said.sh names them."""


@dataclass
class Line:
    """A socket of ss."""

    state: str
    rx: int
    tx: int
    local: str
    remote: str
    words: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.state, self.local, self.remote

    def number(self, word: str) -> int:
        """The number of a word; ss leaves zeros out."""
        return int(self.words.get(word, "0").split("/")[-1])

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of `skmem`: r, rb, t, tb, f, w, o, bl, d."""
        parts = self.words.get("skmem", "()").strip("()").split(",")
        return {re.sub(r"-?\d", "", part): int(re.sub("[a-z]", "", part)) for part in parts if part}


def end(text: str) -> str:
    """One end of a connection as our rows spell it."""
    address, _, port = text.rpartition(":")
    # `%lo` is the interface that a socket is bound to.
    return f"{address.strip('[]').split('%')[0].replace('*', '::')}:{port}"


def sockets(text: str) -> list[Line]:
    """The sockets of `ss -Hanoiem` of one kind that is not unix."""
    found: list[Line] = []
    for line in text.splitlines():
        words = line.split()
        if not line.startswith(("\t", " ")) and len(words) >= 5:
            state, rx, tx, local, remote, *words = words
            found.append(Line(STATES[state], int(rx), int(tx), end(local), end(remote)))
        for word in words:
            name, colon, value = word.partition(":")
            if colon:
                found[-1].words[name] = value
    return found


def unix(text: str) -> list[tuple]:
    """The sockets of `ss -Hanoiemx`: type, state, both queues, path, inode, peer's inode."""
    found = []
    pattern = r"u_(\w+) +(\S+) +(\d+) +(\d+) +(.*?) (\d+) +\S+ (\d+) "
    for kind, state, rx, tx, path, inode, peer in re.findall(pattern, text):
        kind = {"str": "stream", "dgr": "dgram", "seq": "seqpacket"}[kind]
        row = kind, STATES[state], int(rx), int(tx), path.strip().removeprefix("* "), inode, peer
        found.append((*row[:4], "" if row[4] == "*" else row[4], int(inode), int(peer)))
    return found


def timer(text: str) -> tuple[str, float, float, int]:
    """Kind, seconds left, and how exact that is, and tries of ss's `timer:(on,1.200ms,3)`."""
    kind, left, tries = text.strip("()").split(",")
    minutes, seconds, thousandths = re.fullmatch(
        r"(?:(\d+)min)?(?:(\d+)(?:sec|\.))?(?:(\d+)ms)?", left
    ).groups(default="0")
    exact = 60 if int(minutes) > 9 else 1 if int(minutes) or int(seconds) > 9 else 0.001
    return kind, int(minutes) * 60 + int(seconds) + int(thousandths) / 1000, exact, int(tries)


def rows(text: str) -> list[dict]:
    """Rows of `ip -j`; it prints nothing where there are none."""
    return json.loads(text) if text.strip() else []
