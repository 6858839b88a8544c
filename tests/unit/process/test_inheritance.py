"""Sockets that were opened by somebody else: how they come, and who gets them."""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from streamlb.errors import StartError
from streamlb.net.address import parse_address
from streamlb.process.inheritance import PREDECESSOR, SOCKETS, Inheritance, Inherited, inherit, is_at

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB = parse_address("127.0.0.1:80")


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def passed_on(sock: socket.socket) -> int:
    """A descriptor as a child process finds it."""
    number = os.dup(sock.fileno())
    os.set_inheritable(number, True)
    return number


def test_from_a_predecessor(sock: socket.socket) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        passed = [[passed_on(sock), "web", False], [passed_on(sock), "127.0.0.1:81", True]]
        environ = {SOCKETS: json.dumps(passed), PREDECESSOR: str(passed_on(theirs)), "HOME": "/root"}
        inheritance = inherit(environ)
        assert environ == {"HOME": "/root"}, "it is not for our own children"
        with ExitStack() as stack:
            [web] = inheritance.take("web", WEB)
            [other] = inheritance.take("other", parse_address("127.0.0.1:81"))
            for each in (web, other, inheritance.predecessor):
                assert each is not None
                stack.enter_context(each)
                assert not each.get_inheritable()
            assert web.getsockname() == sock.getsockname()
            assert inheritance.is_held(other), "they are one and the same socket"
            assert inheritance.take("web", WEB) == [], "nobody gets it twice"


def test_what_systemd_passes_to_another_process_is_not_ours() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
    assert inherit(environ).rest == []
    assert environ == {}


@pytest.mark.parametrize("count", ["", "x", "-1", "0"])
def test_a_count_that_is_none(count: str) -> None:
    assert inherit({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}).rest == []


def test_a_descriptor_that_is_not_open_or_no_socket() -> None:
    with open(os.devnull) as file:
        environ = {SOCKETS: json.dumps([[file.fileno(), "web", False], [9999, "dns", False]])}
        assert inherit(environ).rest == []


def test_what_nobody_takes(sock: socket.socket) -> None:
    kept, let_go = sock.dup(), sock.dup()
    with kept:
        inheritance = Inheritance([Inherited(kept, "api", True), Inherited(let_go, "127.0.0.1:1", False)])
        assert inheritance.close_rest() == ["api"]
        assert let_go.fileno() == -1
        assert inheritance.take("api", WEB) == [kept], "an entry point of that name may be added later"


def test_by_what_it_is_bound_to(sock: socket.socket) -> None:
    port = sock.getsockname()[1]
    assert is_at(sock, parse_address(f"127.0.0.1:{port}"))
    assert not is_at(sock, parse_address(f"127.0.0.1:{port}/udp"))
    assert not is_at(sock, parse_address(f":{port}"))
    assert not is_at(sock, parse_address("127.0.0.1:1"))
    with socket.create_server(("", 0)) as anywhere:
        assert is_at(anywhere, parse_address(f":{anywhere.getsockname()[1]}"))


def test_sockets_of_the_wrong_kind(sock: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as deaf:
        for wrong in (datagrams, deaf):
            with pytest.raises(StartError, match="the socket it was passed"):
                Inheritance([Inherited(wrong, "web", True)]).take("web", WEB)
        with pytest.raises(StartError, match="not one for UDP"):
            Inheritance([Inherited(sock, "web", True)]).take("web", parse_address("127.0.0.1:80/udp"))
