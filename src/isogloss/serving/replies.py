"""What a client is told where something is wrong: one form for all, OpenAI's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from isogloss.errors import Problem


@final
class Refused(HTTPException):
    """A request that is not answered, and why.

    `param` is the field that is to blame, `code` a word for programs, `problems` all that is
    wrong where the request was of items.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code, self.param, self.problems = code, param, tuple(problems)

    def reply(self) -> Response:
        """The response."""
        error: dict[str, Any] = {
            "message": self.detail,
            "type": _kind(self.status_code),
            "param": self.param,
            "code": self.code,
        }
        if self.problems:
            error["problems"] = [
                {"item": p.line, "field": p.field, "found": p.found, "expected": p.expected}
                for p in self.problems
            ]
        return Response(
            # ASCII only, as a client's text may hold what UTF-8 cannot.
            json.dumps({"error": error}),
            self.status_code,
            headers=self.headers,
            media_type="application/json",
        )


def _kind(status: int) -> str:
    """OpenAI's word for a status."""
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def plain(error: HTTPException) -> Refused:
    """An error of the server library, such as an unknown path, in our form."""
    if isinstance(error, Refused):
        return error
    codes = {404: "no_such_path", 405: "method_not_allowed"}
    code = codes.get(error.status_code, "bad_request")
    return Refused(error.status_code, str(error.detail), code=code, headers=error.headers)
