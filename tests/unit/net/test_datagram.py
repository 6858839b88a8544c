"""Datagram sockets: the notes that choose an answer's source, and what a door remembers."""

from __future__ import annotations

import socket

from streamlb.net.datagram import (
    IP_PKTINFO,
    IPV6_PKTINFO,
    MAX_LOCAL_ADDRESSES,
    FixedDoor,
    WildcardDoor,
    ipv4_notes,
    ipv6_notes,
    is_half_full,
    open_door,
    overruns,
)


def test_an_ipv4_answer_leaves_from_the_address_asked_by_any_interface() -> None:
    local = socket.inet_aton("192.0.2.7")
    assert ipv4_notes(local) == [(socket.IPPROTO_IP, IP_PKTINFO, bytes(4) + local + bytes(4))]


def test_an_ipv6_answer_leaves_from_the_address_asked_by_any_interface() -> None:
    local = socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    assert ipv6_notes(local) == [(socket.IPPROTO_IPV6, IPV6_PKTINFO, local + bytes(4))]


def test_a_group_is_no_source() -> None:
    assert ipv6_notes(socket.inet_pton(socket.AF_INET6, "ff02::1")) == []


def test_the_door_fits_the_address() -> None:
    for host, kind in (("127.0.0.1", FixedDoor), ("0.0.0.0", WildcardDoor)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
            assert isinstance(open_door(sock), kind)


def test_what_a_door_remembers_is_bounded() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        door = WildcardDoor(sock)
        for i in range(3 * MAX_LOCAL_ADDRESSES):
            door._remember(i.to_bytes(4, "big"))
            assert len(door._notes) <= MAX_LOCAL_ADDRESSES + 1
        assert door._notes[b""] == []


def test_what_waits_in_a_socket_and_what_found_no_room() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert not is_half_full(sock)
        assert overruns(sock) == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(2000):
                sender.sendto(bytes(1000), sock.getsockname())
        assert is_half_full(sock)
        assert 1000 < overruns(sock) < 2000
        sock.setblocking(False)
        for _ in range(2000 - overruns(sock)):
            sock.recv(2000)
        assert not is_half_full(sock)


def test_a_kernel_that_does_not_tell() -> None:
    class Silent(socket.socket):
        def getsockopt(self, *_: object) -> bytes:  # type: ignore[override]
            raise OSError(92, "Protocol not available")

    with Silent(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not is_half_full(sock)
        assert overruns(sock) == 0
