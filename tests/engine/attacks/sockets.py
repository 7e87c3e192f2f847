"""All ways in which a program can choose how its packets leave. Its text runs in users' servers.

Ways that need a capability are tried as well: these must be reported as forbidden.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

SECONDS = 2

# From <linux/in.h> and <asm-generic/socket.h>: Python has no names for these.
IP_PKTINFO = 8
IP_UNICAST_IF = 50
IP_FREEBIND = 15
IP_TRANSPARENT = 19
UDP_SEGMENT = 103
IPPROTO_MPTCP = 262
IPPROTO_UDPLITE = 136
MSG_FASTOPEN = 0x20000000

Option = tuple[int, int, int | bytes]
IP, SOL = socket.IPPROTO_IP, socket.SOL_SOCKET


def device() -> str:
    """Return the name of the only interface besides loopback."""
    return next(name for _, name in socket.if_nameindex() if name != "lo")


def own_address(host: str) -> str:
    """Return the source address of packets to a host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        return str(probe.getsockname()[0])


def options(host: str) -> dict[str, list[Option]]:
    """Return socket options that could lead packets past routes, by name."""
    name = device()
    index = socket.if_nametoindex(name)
    bound = (SOL, socket.SO_BINDTODEVICE, name.encode())
    direct = (SOL, socket.SO_DONTROUTE, 1)
    # RFC 791: loose and strict source routes through the target.
    hop = socket.inet_aton(host)
    return {
        "plain": [],
        "device": [bound],
        "no route": [direct],
        "device, no route": [bound, direct],
        "interface": [(IP, IP_UNICAST_IF, struct.pack("!I", index))],
        "interface, no route": [(IP, IP_UNICAST_IF, struct.pack("!I", index)), direct],
        "loose source route": [(IP, socket.IP_OPTIONS, b"\x01\x83\x07\x04" + hop), bound],
        "strict source route": [(IP, socket.IP_OPTIONS, b"\x01\x89\x07\x04" + hop), bound],
        "mark": [(SOL, socket.SO_MARK, 1), bound],
        "priority": [(SOL, socket.SO_PRIORITY, 6), bound],
        "type of service": [(IP, socket.IP_TOS, 0xB8), bound],
        "loopback as the device": [(SOL, socket.SO_BINDTODEVICE, b"lo")],
        "broadcast": [(SOL, socket.SO_BROADCAST, 1), bound, direct],
    }


def sources(host: str) -> dict[str, tuple[str, list[Option]]]:
    """Return addresses that a socket could send from, with the options that it takes."""
    bound = (SOL, socket.SO_BINDTODEVICE, device().encode())
    foreign = "203.0.113.5"
    return {
        "from loopback": ("127.0.0.2", [bound]),
        "from the target": (host, [(IP, IP_FREEBIND, 1), bound]),
        "from nowhere": (foreign, [(IP, IP_FREEBIND, 1), bound]),
        "from anywhere": (foreign, [(IP, IP_TRANSPARENT, 1), bound]),
    }


def tried(way: Callable[[], object]) -> str:
    """Return the result of an attempt: the name of its error, or its return value."""
    try:
        return str(way() or "sent")
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)


def connect(host: str, port: int, given: list[Option], source: str = "", protocol: int = 0) -> str:
    """Connect with options, and perhaps from a given address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as probe:
        probe.settimeout(SECONDS)
        for option in given:
            probe.setsockopt(*option)
        if source:
            probe.bind((source, 0))
        probe.connect((host, port))
        return "reached"


def connections(host: str, port: int) -> dict[str, str]:
    """Connect to a port in all ways; return the result of each."""

    def quickly() -> str:
        with socket.socket() as probe:
            probe.settimeout(SECONDS)
            probe.setsockopt(SOL, socket.SO_BINDTODEVICE, device().encode())
            # RFC 7413: data in the first packet.
            probe.sendto(b"hello", MSG_FASTOPEN, (host, port))
            return "reached"

    def mapped() -> str:
        with socket.socket(socket.AF_INET6) as probe:
            probe.settimeout(SECONDS)
            probe.setsockopt(SOL, socket.SO_BINDTODEVICE, device().encode())
            probe.connect((f"::ffff:{host}", port))
            return "reached"

    ways: dict[str, Callable[[], str]] = {
        name: lambda given=given: connect(host, port, given)  # type: ignore[misc]
        for name, given in options(host).items()
    }
    for name, (source, given) in sources(host).items():
        ways[name] = lambda source=source, given=given: connect(host, port, given, source)  # type: ignore[misc]
    ways["fast open"] = quickly
    ways["IPv4 in IPv6"] = mapped
    ways["several paths"] = lambda: connect(host, port, [], protocol=IPPROTO_MPTCP)
    ways["SCTP"] = lambda: connect(host, port, [], protocol=socket.IPPROTO_SCTP)
    with ThreadPoolExecutor(24) as threads:
        return dict(zip(ways, threads.map(tried, ways.values()), strict=True))


@dataclass(frozen=True)
class Target:
    """Destination of datagrams, and the text that they begin with."""

    host: str
    port: int
    token: str

    def send(
        self, name: str, given: list[Option], source: str = "", flags: int = 0, size: int = 0
    ) -> None:
        """Send a datagram that contains the way's name, padded to a size."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for option in given:
                probe.setsockopt(*option)
            if source:
                probe.bind((source, 0))
            text = f"{self.token} {name}.".encode().ljust(size)
            probe.sendto(text, flags, (self.host, self.port))

    def send_with(self, name: str, address: str) -> None:
        """Send with ancillary data that names the interface and the source address."""
        index = socket.if_nametoindex(device())
        chosen = struct.pack("=I4s4s", index, socket.inet_aton(address), bytes(4))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            text = f"{self.token} {name}.".encode()
            probe.sendmsg([text], [(IP, IP_PKTINFO, chosen)], 0, (self.host, self.port))

    def send_as(self, name: str, kind: int, protocol: int) -> None:
        """Send with a protocol other than UDP."""
        # An ICMP echo request: a ping socket checks only this much.
        text = b"\x08\0\0\0\0\0\0\1" + f"{self.token} {name}.".encode()
        with socket.socket(socket.AF_INET, kind, protocol) as probe:
            probe.settimeout(SECONDS)
            probe.sendto(text, (self.host, self.port if protocol == IPPROTO_UDPLITE else 0))
            if protocol == socket.IPPROTO_ICMP and kind == socket.SOCK_DGRAM:
                probe.recv(1000)

    def send_frame(self, name: str) -> None:
        """Send a raw frame, which the kernel does not treat as an IP packet."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300) as probe:
            probe.bind((device(), 0))
            probe.send(b"\xff" * 12 + b"\x08\0" + f"{self.token} {name}.".encode())


def datagrams(host: str, port: int, token: str) -> dict[str, str]:
    """Send a datagram in all ways, with the way's name in it; return the result of each."""
    send = Target(host, port, token)
    bound = (SOL, socket.SO_BINDTODEVICE, device().encode())
    segments = (socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
    raw = socket.SOCK_RAW
    ways: dict[str, Callable[[str], None]] = {
        name: lambda name, given=given: send.send(name, given)  # type: ignore[misc]
        for name, given in options(host).items()
    }
    for way, (source, given) in sources(host).items():
        ways[way] = lambda name, source=source, given=given: send.send(name, given, source)  # type: ignore[misc]
    ways |= {
        "no route, once": lambda name: send.send(name, [bound], flags=socket.MSG_DONTROUTE),
        "ancillary interface": lambda name: send.send_with(name, own_address(host)),
        "ancillary, from the target": lambda name: send.send_with(name, host),
        "ancillary, from loopback": lambda name: send.send_with(name, "127.0.0.3"),
        # Only the first fragment has the port.
        "fragments": lambda name: send.send(name, [bound], size=6000),
        "segments": lambda name: send.send(name, [bound, segments], size=6000),
        "ping": lambda name: send.send_as(name, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
        "UDP-Lite": lambda name: send.send_as(name, socket.SOCK_DGRAM, IPPROTO_UDPLITE),
        "raw ICMP": lambda name: send.send_as(name, raw, socket.IPPROTO_ICMP),
        "raw IP": lambda name: send.send_as(name, raw, socket.IPPROTO_RAW),
        "raw UDP": lambda name: send.send_as(name, raw, socket.IPPROTO_UDP),
        "frame": send.send_frame,
    }
    return {name: tried(lambda name=name, way=way: way(name)) for name, way in ways.items()}  # type: ignore[misc]
