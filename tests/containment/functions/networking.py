"""Handlers that try to reach what is outside, and to talk to themselves."""

import errno
import os
import socket


def _said(make):
    try:
        make()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "ok"


def _connect(family, address, kind=socket.SOCK_STREAM, protocol=0):
    with socket.socket(family, kind, protocol) as client:
        client.settimeout(5)
        client.connect(address)


def _send_udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", ("127.0.0.1", port))


def _talk_to_itself():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        accepted, _ = server.accept()
        accepted.sendall(b"x")
        assert client.recv(1) == b"x"
        accepted.close()


def _fast_open(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", port))


def reach(event, context):
    """Try every way to the listeners of the test; returns what each was answered."""
    port, abstract = event["port"], "\0" + event["abstract"]
    return {
        "tcp": _said(lambda: _connect(socket.AF_INET, ("127.0.0.1", port))),
        "mptcp": _said(lambda: _connect(socket.AF_INET, ("127.0.0.1", port), protocol=262)),
        "fast-open": _said(lambda: _fast_open(port)),
        "udp": _said(lambda: _send_udp(event["udp"])),
        "abstract": _said(lambda: _connect(socket.AF_UNIX, abstract)),
        "itself": _said(_talk_to_itself),
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
    }


def reach_tcp(event, context):
    """Connect to each of the ports; returns what each was answered."""
    return [
        _said(lambda port=port: _connect(socket.AF_INET, ("127.0.0.1", port))) for port in event
    ]


def _listen(port):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()


def listen(event, context):
    """Listen on each of the ports; returns what each was answered."""
    return [_said(lambda port=port: _listen(port)) for port in event]


def _listen_unbound(family):
    with socket.socket(family) as server:
        server.listen()


def listen_unbound(event, context):
    """Listen without having bound; returns what IPv4 and IPv6 were answered."""
    families = (socket.AF_INET, socket.AF_INET6)
    return [_said(lambda family=family: _listen_unbound(family)) for family in families]


def network_namespace(event, context):
    return os.stat("/proc/self/ns/net").st_ino
