"""What every request passes first: counting, stopping, the token, and the body's size."""

from __future__ import annotations

import time
from typing import final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isogloss.serving.access import is_right
from isogloss.serving.replies import Refused
from isogloss.serving.service import Service, stopping

OPEN = "/health"  # asked by those that keep the server running, who have no token
WATCHED = (OPEN, "/metrics")  # answered while the server stops
PATHS = (*WATCHED, "/v1/predict", "/v1/completions", "/v1/models", "/openapi.json")


@final
class Gate:
    """An ASGI middleware: refuses before a body is read, and counts what became of a request."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        watched = scope["path"] in WATCHED
        self.service.under_way += not watched
        try:
            refusal = self._refusal(scope)
            if refusal:
                await refusal.reply()(scope, receive, sending)
            else:
                await self.app(scope, self._limited(receive), sending)
        finally:
            self.service.under_way -= not watched
            endpoint = scope["path"] if scope["path"] in PATHS else "other"
            self.service.metrics.answered(endpoint, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Refused | None:
        """Why a request is refused by its head alone, or None."""
        path, headers = scope["path"], Headers(scope=scope)
        token = self.service.token
        given = headers.get("authorization", "").encode("latin-1")
        if token is not None and path != OPEN and not is_right(token, given):
            wanted = {"WWW-Authenticate": "Bearer"}
            message = "expected the header 'Authorization: Bearer TOKEN' with this server's token"
            return Refused(401, message, code="invalid_api_key", headers=wanted)
        if self.service.stopping and path not in WATCHED:
            return stopping()
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            # Else a page in a browser could post to a server on this machine unasked.
            if kind != "application/json":
                message = f"the content type is '{kind}'; expected application/json"
                return Refused(415, message, code="not_json")
            length = headers.get("content-length", "0")
            if length.isdecimal() and int(length) > self._most:
                return self._too_large()
        return None

    @property
    def _most(self) -> int:
        return self.service.settings.max_body_kb * 1024

    def _too_large(self) -> Refused:
        most = self.service.settings.max_body_kb
        return Refused(413, f"the body is larger than {most} KiB", code="body_too_large")

    def _limited(self, receive: Receive) -> Receive:
        """What is received, up to the largest size; a length need not be announced."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise self._too_large()
            return message

        return limited
