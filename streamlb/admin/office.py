"""What this room sees of the control process.

What lives here: `Office`. What must not: anything that acts. Implemented by `process/steering.py`, called by `app.py`.
Everything an office says can be written as JSON. What cannot be done is a RefusedError. Specified in
docs/reference.md ("Steering").
"""

from __future__ import annotations

from typing import Any, Protocol


class Office(Protocol):
    """Shows and steers a running streamlb. `by`: who wants it, in words, for the log and the record."""

    async def status(self) -> Any:
        """All there is to know at a glance."""

    async def config(self) -> Any:
        """What the files say, as far as it was accepted, without the keys."""

    async def health(self) -> Any:
        """Every server, its state and the reason."""

    async def weigh(self, service: str, child: str, weight: int, by: str) -> Any:
        """Give a child of a service another weight."""

    async def turn(self, server: str, service: str, state: str, by: str) -> Any:
        """Make a server ready, drain it, or take it out for maintenance; `service` empty: in every one that has it."""

    async def remaining(self, server: str, service: str) -> Any:
        """What is still under way at a server."""

    async def connections(self, limit: int) -> Any:
        """What is under way now: at most `limit` of it in each worker, 0 for all."""

    async def interventions(self) -> Any:
        """What was changed at run time and is in force."""

    async def reset(self, which: str, by: str) -> Any:
        """Undo what was changed: a number, or `all`."""

    async def reload(self, by: str) -> Any:
        """Read the configuration again and take it over."""

    async def upgrade(self, by: str) -> Any:
        """Have a freshly started process go on in the place of this one; answered when it serves."""

    async def resolve(self, name: str, by: str) -> Any:
        """Look a name of servers up again now, or `all` of them."""
