"""The endpoints."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from isogloss.serving.completing import Completion
from isogloss.serving.gate import Gate
from isogloss.serving.items import examples_of, invalid
from isogloss.serving.metrics import CONTENT_TYPE
from isogloss.serving.replies import Refused, plain
from isogloss.serving.schemas import TOKENS, CompletionBody, problems_of
from isogloss.serving.service import Service, Stopped
from isogloss.serving.waiting import Items, Prompt, Prompts

routes = APIRouter()
Item = dict[str, Any]


def make_app(service: Service, started: Callable[[], None] | None = None) -> FastAPI:
    """The application; `started` is called in its event loop before the first request."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        if started:
            started()
        yield
        service.worker.stop(Stopped(), seconds=1)

    app = FastAPI(title="Isogloss", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.include_router(routes)
    app.add_middleware(Gate, service=service)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(Exception, _broken)
    return app


@routes.post("/v1/predict")
async def predict(
    request: Request, body: Annotated[Item | list[Item] | Any, Body()], language: str | None = None
) -> Response:
    """Predictions for one item of the run's task, or for a list of them."""
    service = _service(request)
    most = service.settings.max_items
    examples = examples_of(service.opened, body, language, most=most)
    predictions = await service.ask(Items(examples))
    entries = [prediction.entry() for prediction in predictions]
    return JSONResponse({"run": service.name, "predictions": entries})


@routes.post("/v1/completions")
async def completions(request: Request, body: CompletionBody) -> Response:
    """What the run's model writes after each prompt."""
    service = _service(request)
    if body.model != service.name:
        message = f"no model '{body.model}' is served here; there is '{service.name}'"
        raise Refused(404, message, code="model_not_found", param="model")
    written = await service.ask(_prompts(service, body))
    return JSONResponse(
        {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.name,
            "choices": [_choice(place, one) for place, one in enumerate(written)],
            "usage": _usage(written),
        }
    )


@routes.get("/v1/models")
async def models(request: Request) -> Response:
    """The one model there is."""
    service = _service(request)
    made = {"object": "model", "created": service.began, "owned_by": "isogloss"}
    return JSONResponse({"object": "list", "data": [{"id": service.name, **made}]})


@routes.get("/health")
async def health(request: Request) -> Response:
    """Whether requests are answered."""
    service = _service(request)
    if service.ready:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "stopping" if service.stopping else "failed"}, 503)


@routes.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counts in Prometheus' text format."""
    return Response(_service(request).metrics.text(), media_type=CONTENT_TYPE)


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service), "make_app put it there"
    return service


def _prompts(service: Service, body: CompletionBody) -> Prompts:
    settings = service.settings
    if len(body.prompt) > settings.max_items:
        message = f"{len(body.prompt)} prompts are given, but at most {settings.max_items} may be"
        raise Refused(400, message, code="too_many_prompts", param="prompt")
    tokens = body.max_tokens or min(TOKENS, settings.max_tokens)
    if tokens > settings.max_tokens:
        message = f"max_tokens is {tokens}, but at most {settings.max_tokens} are written here"
        raise Refused(400, message, code="too_many_tokens", param="max_tokens")
    return Prompts(tuple(Prompt(text, tokens, body.stop) for text in body.prompt))


def _choice(place: int, one: Completion) -> Item:
    return {
        "text": one.text,
        "index": place,
        "logprobs": None,
        "finish_reason": one.finish_reason,
    }


def _usage(written: list[Completion]) -> dict[str, int]:
    read = sum(one.prompt_tokens for one in written)
    made = sum(one.completion_tokens for one in written)
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for these"
    return plain(error).reply()


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for these"
    return invalid(problems_of(error.errors()), 400, "invalid_request").reply()


async def _broken(request: Request, error: Exception) -> Response:
    message = f"the server failed ({type(error).__name__}); its log says more"
    return Refused(500, message, code="failed").reply()
