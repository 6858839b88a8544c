"""Where the socket and the state file are if nobody says."""

from __future__ import annotations

import pytest

from streamlb.config.places import socket_path, sockets_to_try, state_path


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({}, 0, "/run/streamlb/streamlb.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/streamlb/streamlb.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/streamlb.sock"),
        ({}, 7, "/tmp/streamlb-7/streamlb.sock"),
        ({"RUNTIME_DIRECTORY": "/run/lb:/run/more", "XDG_RUNTIME_DIR": "/x"}, 7, "/run/lb/streamlb.sock"),
        ({"STREAMLB_SOCKET": "/a/b", "RUNTIME_DIRECTORY": "/run/lb"}, 0, "/a/b"),
    ],
)
def test_where_the_socket_is_made(environ: dict[str, str], uid: int, expected: str) -> None:
    assert socket_path(environ, uid) == expected


def test_who_looks_for_it_tries_the_system_s_place_too() -> None:
    tried = sockets_to_try({"XDG_RUNTIME_DIR": "/run/user/7"}, 7)
    assert tried == ["/run/user/7/streamlb.sock", "/tmp/streamlb-7/streamlb.sock", "/run/streamlb/streamlb.sock"]
    assert sockets_to_try({"STREAMLB_SOCKET": "/a"}, 7) == ["/a"]


def test_each_configuration_has_a_state_of_its_own() -> None:
    one, other = (state_path(name, {"HOME": "/home/me"}, 7) for name in ("/etc/a.yaml", "/etc/b.yaml"))
    assert one != other
    assert one.startswith("/home/me/.local/state/streamlb/overrides-")
    assert state_path("/etc/a.yaml", {"HOME": "/home/me", "XDG_STATE_HOME": "/s"}, 7).startswith("/s/streamlb/")
    assert state_path("/etc/a.yaml", {"HOME": "/root"}, 0).startswith("/var/lib/streamlb/overrides-")
    assert state_path("/etc/a.yaml", {"STATE_DIRECTORY": "/var/lib/lb"}, 7) == "/var/lib/lb/overrides.json"
    assert state_path("/etc/a.yaml", {}, 7) == ""
