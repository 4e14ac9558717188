"""What every request to the app has to pass, and the answer to those who only ask whether it is well.

A page of any web site can make its visitor's browser send requests to this machine. It is told apart by two headers that
no page can forge: `Host`, which has a name of the site where its name was bound to this address after it was loaded (DNS
rebinding), and `Origin` or `Sec-Fetch-Site`, which say where a request comes from.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from upscaler import __version__

HEALTH = "/health"


class Guard:
    """Middleware that refuses requests under foreign names and from foreign pages, and answers `/health`."""

    def __init__(self, app: Any, *, hosts: Iterable[str] = (), health: Callable[[], dict[str, Any]]) -> None:
        """
        Args:
            hosts: names under which the app may be reached, beside addresses, localhost and the machine's own name.
            health: what to tell of the app, with "status".
        """
        self._app, self._health = app, health
        own = (socket.gethostname(), socket.getfqdn())
        self._hosts = {"localhost", *(host.lower() for host in (*own, *hosts))}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        reason = self._refuse(headers)
        if reason is not None:
            await _answer(scope, send, 403, {"error": reason})
        elif scope["type"] == "http" and scope["path"] == HEALTH:
            health = self._health()
            status = 200 if health["status"] == "ok" else 503
            await _answer(scope, send, status, {**health, "version": __version__})
        else:
            await self._app(scope, receive, send)

    def _refuse(self, headers: dict[str, str]) -> str | None:
        """Why a request is not answered, or `None`."""
        host = headers.get("host", "")
        if not self._is_known(host):
            return (
                f"the app is not known under the name {_name(host)[:80]!r}; use the address of the machine, or start it "
                "with --allow-host NAME"
            )
        origin = headers.get("origin")
        if origin is not None:
            place = urlsplit(origin).netloc
            if place.lower() != host.lower() and _name(place) not in self._hosts - {"localhost"}:
                return f"requests from {origin[:80]!r} are not answered; open the app itself"
        elif (
            headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate"
        ):
            return "requests from other pages are not answered; open the app itself"
        return None

    def _is_known(self, host: str) -> bool:
        name = _name(host)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._hosts or name.endswith(".localhost")
        return True  # an address is no name that could have been bound anew


def guard(hosts: Iterable[str], health: Callable[[], dict[str, Any]]) -> Any:
    """The guard as Starlette takes it."""
    from starlette.middleware import Middleware

    return Middleware(Guard, hosts=tuple(hosts), health=health)


def _name(host: str) -> str:
    """The name in `name:port` or `[address]:port`, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


async def _answer(scope: Any, send: Any, status: int, content: dict[str, Any]) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, (b"cache-control", b"no-store")]}
    )
    await send({"type": "http.response.body", "body": body})
