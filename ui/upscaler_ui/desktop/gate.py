"""Only the window gets in: a ticket in the address that is good for one use, and from then on a cookie.

Other users of the machine can reach its ports, and any page in a browser can send requests to them.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_TICKET = "ticket"
_THEME = "__theme"  # as Gradio calls it
_REFUSED = "403: this app belongs to the window that upscaler opened; start it with: upscaler desktop\n"
_STARTUP = (
    "/gradio_api/startup-events"  # what Gradio asks of itself before it says that it runs; tells and changes nothing
)


class Gate:
    """The secrets of one start of the server."""

    def __init__(self) -> None:
        self._name = f"upscaler-{secrets.token_hex(4)}"  # cookies do not know ports: each server has a name of its own
        self._cookie = secrets.token_urlsafe(32)
        self._tickets: set[str] = set()

    def address(self, url: str) -> str:
        """The address of the app with a ticket, good for one visit; after that the visitor has a cookie."""
        ticket = secrets.token_urlsafe(32)
        self._tickets.add(ticket)
        return f"{url.rstrip('/')}/?{_TICKET}={ticket}"

    @property
    def middleware(self) -> Middleware:
        """What each request has to pass."""
        return Middleware(_GateKeeper, gate=self)

    def admits(self, header: str) -> bool:
        """Whether a `Cookie` header holds our cookie."""
        try:
            found = SimpleCookie(header).get(self._name)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), self._cookie.encode())

    def take(self, ticket: str) -> bool:
        """Whether the ticket is good; it is not any more."""
        good = [known for known in self._tickets if hmac.compare_digest(known.encode(), ticket.encode())]
        self._tickets.difference_update(good)
        return bool(good)

    def stamp(self, answer: Response) -> Response:
        """The answer with the cookie."""
        answer.set_cookie(self._name, self._cookie, httponly=True, samesite="strict", path="/")
        return answer


class _GateKeeper:
    """Passes on what has the cookie, trades a ticket for it, and refuses the rest, whatever it asks for."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._may_enter(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope)(scope, receive, send)

    def _may_enter(self, scope: Scope) -> bool:
        if scope["type"] == "http" and scope["path"] == _STARTUP and scope["method"] == "GET":
            return True
        cookies = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
        return self._gate.admits("; ".join(cookies)) and not self._ticket(scope)

    def _answer(self, scope: Scope) -> Response:
        ticket = self._ticket(scope)
        if ticket and self._gate.take(ticket):
            return self._gate.stamp(_page_that_goes_on(_home(scope)))
        if ticket and self._may_enter({**scope, "query_string": b""}):  # the address was opened again
            return RedirectResponse(_home(scope), 303)
        if scope["method"] == "HEAD" and scope["path"] == "/":  # how Gradio makes sure that it can be reached
            return Response(status_code=401)
        return PlainTextResponse(_REFUSED, 403)

    def _ticket(self, scope: Scope) -> str:
        if scope["type"] != "http" or scope["path"] != "/":
            return ""
        return parse_qs(scope["query_string"].decode("latin-1")).get(_TICKET, [""])[0]


def _page_that_goes_on(home: str) -> Response:
    """A page of our own site that goes on to the app: a redirect would not carry a strict cookie when the address was
    opened by another site or program."""
    page = f'<!doctype html><meta http-equiv="refresh" content="0; url={home}"><title>upscaler</title>'
    return Response(
        page, headers={"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}, media_type="text/html"
    )


def _home(scope: Scope) -> str:
    """The page without the ticket, in the theme that was asked for."""
    theme = parse_qs(scope["query_string"].decode("latin-1")).get(_THEME, [""])[0]
    return f"/?{_THEME}={theme}" if theme in ("light", "dark") else "/"
