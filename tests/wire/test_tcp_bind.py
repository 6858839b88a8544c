"""Binding entry points: what is inherited, what is shared, and the one line when it fails."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import streamlb.net.address as address_module
from streamlb.errors import StartError
from streamlb.net.address import SO_RCVBUFFORCE, Address, ask_for_buffer, bind, bind_tcp, bind_udp, system_paces

if TYPE_CHECKING:
    from collections.abc import Iterator

HAS_IPV6 = os.path.exists("/proc/net/if_inet6")
ALLOWED = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"


@contextlib.contextmanager
def bound(host: str = "127.0.0.1", port: int = 0, kind: str = "tcp", **options: bool) -> Iterator[socket.socket]:
    with bind(Address(host, port, kind), name="web", **options) as sock:  # type: ignore[arg-type]
        yield sock


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def test_accepted_connections_inherit_what_the_listener_was_told() -> None:
    with bound() as listening, socket.create_connection(("127.0.0.1", port_of(listening))):
        assert listening.getblocking() is False
        listening.setblocking(True)
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


@pytest.mark.parametrize(
    ("paces", "host", "is_unpaced"), [("bbr", "127.0.0.1", True), ("bbr", "", False), ("cubic", "127.0.0.1", False)]
)
def test_nothing_is_paced_over_loopback(
    paces: str, host: str, is_unpaced: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setting = tmp_path / "tcp_congestion_control"
    setting.write_text(f"{paces}\n")
    monkeypatch.setattr(address_module, "CONGESTION_CONTROL", str(setting))
    others = set(Path(ALLOWED).read_bytes().split()) - {algorithm_of_a_new_socket()}
    if not others:
        pytest.skip("this system has one congestion control only")
    monkeypatch.setattr(address_module, "UNPACED", others.pop())
    system_paces.cache_clear()
    try:
        with bind_tcp(Address(host, 0, "tcp")) as listening:
            algorithm = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
            assert (algorithm != algorithm_of_a_new_socket()) is is_unpaced
    finally:
        system_paces.cache_clear()


def algorithm_of_a_new_socket() -> bytes:
    with socket.socket() as sock:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_an_address_in_use_is_one_clear_line(kind: str) -> None:
    with bound(kind=kind) as first:
        port = port_of(first)
        with (
            pytest.raises(StartError, match=r"^entry point web: 127\.0\.0\.1:\d+(/udp)? is already in use$"),
            bound(port=port, kind=kind),
        ):
            pass
    with bound(port=port, kind=kind):
        pass


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_workers_share_a_port_but_a_stranger_does_not(kind: str) -> None:
    with bound(kind=kind, reuse_port=True) as first:
        with bound(port=port_of(first), kind=kind, reuse_port=True):
            pass
        with pytest.raises(StartError, match="already in use"), bound(port=port_of(first), kind=kind):
            pass


def test_a_port_is_free_again_at_once_after_a_restart() -> None:
    with bound() as listening:
        port = port_of(listening)
        with socket.create_connection(("127.0.0.1", port)):
            listening.setblocking(True)
            accepted, _ = listening.accept()
            accepted.close()
    with bound(port=port):
        pass


def test_no_host_means_every_address_of_both_families() -> None:
    with bound(host="") as listening:
        with socket.create_connection(("127.0.0.1", port_of(listening))):
            pass
        if HAS_IPV6:
            with socket.create_connection(("::1", port_of(listening))):
                pass


def test_without_ipv6_no_host_means_every_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlb.net.address._has_ipv6", lambda: False)
    with bound(host="") as listening:
        assert listening.family == socket.AF_INET
        with socket.create_connection(("127.0.0.1", port_of(listening))):
            pass


@pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 here")
def test_an_ipv6_address_is_that_address_only() -> None:
    with bound(host="::1") as listening:
        with socket.create_connection(("::1", port_of(listening))):
            pass
        with bound(host="127.0.0.1", port=port_of(listening)):
            pass


def test_a_name_is_looked_up_ipv4_first() -> None:
    with bound(host="localhost") as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("192.0.2.1", "192.0.2.1 is not an address of this machine"),
        ("nobody.invalid", "the name nobody.invalid does not resolve"),
    ],
)
def test_an_address_that_is_not_ours_is_one_clear_line(host: str, reason: str) -> None:
    with pytest.raises(StartError) as caught:
        bind_tcp(Address(host, 8080), name="web")
    assert str(caught.value).startswith(f"entry point web: {host}:8080: {reason}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs another user")
def test_a_privileged_port_is_one_clear_line() -> None:
    """Tried as nobody, in a child: as root there is no such thing."""
    with open(UNPRIVILEGED) as file:
        lowest = int(file.read())
    if lowest <= 1:
        pytest.skip("this machine has no privileged ports")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            bind_tcp(Address("127.0.0.1", 1), name="web").close()
            os.write(write_end, b"it was bound")
        except StartError as error:
            os.write(write_end, str(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end) as file:
        told = file.read()
    os.waitpid(child, 0)
    assert told == "entry point web: 127.0.0.1:1: a port below 1024 needs root or CAP_NET_BIND_SERVICE"


def test_a_datagram_socket_is_ready_for_a_burst() -> None:
    with bind_udp(Address("127.0.0.1", 0, "udp")) as sock:
        assert sock.type == socket.SOCK_DGRAM
        assert sock.getblocking() is False
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 128 * 1024


def test_a_buffer_beyond_the_cap_is_for_the_privileged() -> None:
    asked: list[int] = []

    class Unprivileged(socket.socket):
        def setsockopt(self, level: int, option: int, value: Any, *rest: Any) -> None:
            asked.append(option)
            if option == SO_RCVBUFFORCE:
                raise PermissionError(1, "Operation not permitted")
            super().setsockopt(level, option, value, *rest)

    with Unprivileged(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        ask_for_buffer(sock, 64 * 1024)
        assert asked == [SO_RCVBUFFORCE, socket.SO_RCVBUF]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 128 * 1024, "doubled, for the kernel's own needs"
