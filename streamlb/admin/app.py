"""The routes of the admin sockets: what is asked, read strictly; what is answered, as JSON.

What lives here: `steering`, the app behind `streamlb ctl`. What must not: doing it (`office.py`), sockets
(`server.py`). Called by `process/admin.py`. Specified in docs/reference.md ("Steering").

200 and what was asked for; 400 and `{"error", "suggestion"}` where it makes no sense; 404, 405, 413 as in HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import pwd
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from streamlb.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from streamlb.admin.office import Office

    Endpoint = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)

PREFIX = "/api/ctl"
MAX_BODY = 64 * 1024
"""Bytes of a request's body."""
MAX_SHOWN = 1_000_000
MAX_USER_NAME = 64

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class Weigh(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST weight`."""

    service: Name
    child: Name
    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST state`."""

    server: Name
    state: Name
    service: str = ""


class Resolve(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST resolve`."""

    name: Name = "all"


class Reset(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST reset`."""

    id: Name


Body = TypeVar("Body", bound=msgspec.Struct)


def steering(office: Office) -> Starlette:
    """The app that shows and steers everything; for those who may."""

    async def status(_request: Request) -> Any:
        return await office.status()

    async def health(_request: Request) -> Any:
        return await office.health()

    async def config(_request: Request) -> Any:
        return await office.config()

    async def connections(request: Request) -> Any:
        return await office.connections(_number(request, "limit", 100))

    async def interventions(_request: Request) -> Any:
        return await office.interventions()

    async def remaining(request: Request) -> Any:
        server = request.query_params.get("server", "")
        return await office.remaining(server, request.query_params.get("service", ""))

    async def weigh(request: Request) -> Any:
        body = await _body(request, Weigh)
        return await office.weigh(body.service, body.child, body.weight, await caller(request))

    async def turn(request: Request) -> Any:
        body = await _body(request, Turn)
        return await office.turn(body.server, body.service, body.state, await caller(request))

    async def reset(request: Request) -> Any:
        body = await _body(request, Reset)
        return await office.reset(body.id, await caller(request))

    async def reload(request: Request) -> Any:
        return await office.reload(await caller(request))

    async def upgrade(request: Request) -> Any:
        return await office.upgrade(await caller(request))

    async def resolve(request: Request) -> Any:
        body = await _body(request, Resolve)
        return await office.resolve(body.name, await caller(request))

    shown = {
        "status": status,
        "config": config,
        "health": health,
        "connections": connections,
        "overrides": interventions,
        "remaining": remaining,
    }
    done = {"weight": weigh, "state": turn, "reset": reset, "reload": reload, "upgrade": upgrade, "resolve": resolve}
    routes = [Route(f"{PREFIX}/{name}", answering(work), methods=["GET"]) for name, work in shown.items()]
    routes += [Route(f"{PREFIX}/{name}", answering(work), methods=["POST"]) for name, work in done.items()]
    return make(routes)


def make(routes: list[Route]) -> Starlette:
    """An app of these routes, whose refusals look like ours."""

    def refuse(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer({"error": error.detail}, error.status_code)

    return Starlette(routes=routes, exception_handlers={HTTPException: refuse})


def answering(work: Callable[[Request], Awaitable[Any]]) -> Endpoint:
    """The endpoint that answers with what `work` returns."""

    async def endpoint(request: Request) -> Response:
        try:
            return answer(await work(request))
        except RefusedError as error:
            return answer({"error": error.reason, "suggestion": error.suggestion}, 400)
        except HTTPException:
            raise
        except Exception:
            log.exception("%s was not answered by a bug of streamlb", request.url.path)
            return answer({"error": "internal error; the log has more"}, 500)

    return endpoint


def answer(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def caller(request: Request) -> str:
    """Who asks, as the kernel says; root may tell on whose behalf."""
    uid = request.client.host if request.client is not None else ""
    # In a thread: names may come from another machine.
    name = await asyncio.to_thread(_name_of, int(uid)) if uid else "unknown"
    behalf = request.headers.get("x-sudo-user", "")
    if uid == "0" and behalf and len(behalf) <= MAX_USER_NAME and behalf.isprintable():
        return f"{name} (sudo by {behalf})"
    return name


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


async def _body(request: Request, kind: type[Body]) -> Body:
    """The request's body, which must be this."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY:
            raise HTTPException(413, "the request is too large")
    try:
        return msgspec.json.decode(received or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(f"the request cannot be read: {error}") from error


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_SHOWN):
        raise RefusedError(f"{name} must be a number up to {MAX_SHOWN}")
    return int(text)
