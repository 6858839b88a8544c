"""Where a running streamlb has its socket and its state, if nobody says.

What lives here: the rules, which `streamlb run` and `streamlb ctl` share. What must not: looking whether anything is
there. Specified in docs/reference.md ("Steering") and systemd.exec(5) (RUNTIME_DIRECTORY, STATE_DIRECTORY).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET_VARIABLE = "STREAMLB_SOCKET"
SOCKET_NAME = "streamlb.sock"
SYSTEM_RUNTIME = "/run/streamlb"
SYSTEM_STATE = "/var/lib/streamlb"


def socket_path(environ: Mapping[str, str], uid: int) -> str:
    """Where the socket is made."""
    return sockets_to_try(environ, uid)[0]


def sockets_to_try(environ: Mapping[str, str], uid: int) -> list[str]:
    """Where somebody who looks for a running streamlb finds its socket, most likely first."""
    named = environ.get(SOCKET_VARIABLE, "")
    if named:
        return [named]
    folders = [_first(environ, "RUNTIME_DIRECTORY")]
    if uid == 0:
        folders.append(SYSTEM_RUNTIME)
    folders += [environ.get("XDG_RUNTIME_DIR", "") if uid else "", fallback_folder(uid), SYSTEM_RUNTIME]
    return [f"{folder}/{SOCKET_NAME}" for folder in dict.fromkeys(filter(None, folders))]


def fallback_folder(uid: int) -> str:
    """Where everybody may write; whether it is really ours is to be looked at."""
    return f"/tmp/streamlb-{uid}"


def state_path(configuration: str, environ: Mapping[str, str], uid: int) -> str:
    """Where overrides are kept for a configuration, which is named by its absolute path; empty where there is no home.

    systemd gives each unit a folder of its own; elsewhere each configuration has a file of its own.
    """
    folder = _first(environ, "STATE_DIRECTORY")
    if folder:
        return f"{folder}/overrides.json"
    name = f"overrides-{hashlib.sha256(configuration.encode(errors='surrogateescape')).hexdigest()[:8]}.json"
    if uid == 0:
        return f"{SYSTEM_STATE}/{name}"
    home = environ.get("XDG_STATE_HOME", "")
    if not home and environ.get("HOME", ""):
        home = f"{environ['HOME']}/.local/state"
    return f"{home}/streamlb/{name}" if home else ""


def _first(environ: Mapping[str, str], name: str) -> str:
    """The first folder of a variable that may name several."""
    return environ.get(name, "").partition(":")[0]
