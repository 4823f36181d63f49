"""The networks of a dead kernel as data: sockets, routes, neighbours, interfaces.

    import kdump
    from kdump.net import Networks
    with kdump.open("vmcore") as dump:
        networks = Networks(dump)
        for socket in networks.tcp():
            print(socket.state, socket.local, socket.remote)

Each row lists in ``problems`` the members that could not be read, as text; its other values hold. A
damaged list or tree ends there, and ``networks.problems`` says so.
"""

from kdump.net.address import Endpoint
from kdump.net.interfaces import Interface
from kdump.net.namespaces import Namespace
from kdump.net.neighbours import Neighbour
from kdump.net.networks import Networks
from kdump.net.routes import NextHop, Route
from kdump.net.sockets import RawSocket, Socket, UdpSocket
from kdump.net.tcp import Request, TcpSocket, TimeWait
from kdump.net.unix import UnixSocket

__all__ = [
    "Endpoint",
    "Interface",
    "Namespace",
    "Neighbour",
    "Networks",
    "NextHop",
    "RawSocket",
    "Request",
    "Route",
    "Socket",
    "TcpSocket",
    "TimeWait",
    "UdpSocket",
    "UnixSocket",
]
