"""The one table from error class to HTTP answer, and the documented error shape.

Every answer that is not a result is ``{"error": {"message", "type", "param", "code"}}``, also where
the framework would have answered by itself. Messages are made here from an error's fields; the text
of an exception that is not in the table never reaches a client.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from server import errors
from server.api.request_record import record_of

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
RATE_LIMIT = "rate_limit_error"

_RETRY_AFTER_S = 5
# Another replica can answer at once.
_RETRY_AFTER_DRAIN_S = 1
# Room comes when a batch ends, which takes its time.
_RETRY_AFTER_BATCH_S = 60


class ErrorObject(BaseModel):
    """What went wrong, in the shape that OpenAI's clients read; all four are always present."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is not a 200."""

    error: ErrorObject


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """How one error class is answered; `message` may name the error's fields in braces."""

    status: int
    code: str
    message: str
    type: str = INVALID_REQUEST
    retry_after_s: int | None = None


class RefusedInputError(Exception):
    """One input was refused: `cause` says why and `param` which, e.g. ``input[2].image_url.url``.

    The input is known where the call is taken apart, not where its bytes are decoded.
    """

    def __init__(self, cause: errors.SightwardError, *, param: str) -> None:
        super().__init__(f"{param}: {cause}")
        self.cause = cause
        self.param = param


_INTERNAL = ErrorRule(
    500,
    "internal_error",
    "The server failed on this request. Quote its x-request-id when you report it.",
    SERVER_ERROR,
)

ERROR_RULES: Mapping[type[errors.SightwardError], ErrorRule] = MappingProxyType(
    {
        errors.SightwardError: _INTERNAL,
        errors.EmptyImageError: ErrorRule(400, "empty_image", "The image has no bytes."),
        errors.ImageBytesError: ErrorRule(
            400,
            "image_too_large",
            "The image has {got_bytes} bytes; at most {limit_bytes} are taken.",
        ),
        errors.ImageFormatError: ErrorRule(
            400,
            "unsupported_image_format",
            "The content is no image in a supported format ({supported_names}).",
        ),
        errors.ImageSideError: ErrorRule(
            400,
            "invalid_image_size",
            "The image is {width} x {height} pixels; each side must be 1 to {limit_px}.",
        ),
        errors.ImagePixelsError: ErrorRule(
            400,
            "too_many_pixels",
            "The image is {width} x {height} pixels; at most {limit_pixels} pixels are decoded.",
        ),
        errors.ImageExpansionError: ErrorRule(
            400,
            "image_expands_too_much",
            "The image claims {pixels} pixels in {got_bytes} bytes; at most "
            "{limit_pixels_per_byte} pixels a byte are decoded.",
        ),
        errors.ImageScansError: ErrorRule(
            400,
            "too_many_scans",
            "The image has {got_scans} scans; at most {limit_scans} are decoded.",
        ),
        errors.TruncatedImageError: ErrorRule(
            400,
            "truncated_image",
            "The {image_format} image is cut short; a part of an image is not judged.",
        ),
        errors.CorruptImageError: ErrorRule(
            400, "corrupt_image", "The {image_format} image is damaged and can't be decoded."
        ),
        errors.DataUrlError: ErrorRule(
            400,
            "invalid_data_url",
            "The URL is not of the form data:image/<type>;base64,<payload> with padded base64.",
        ),
        errors.UrlFetchError: ErrorRule(400, "url_not_fetched", "The URL can't be fetched."),
        errors.UrlFetchDisabledError: ErrorRule(
            400,
            "url_fetch_disabled",
            "Fetching images from URLs is not enabled on this server; send the image itself as a "
            "base64 data URL or as an upload.",
        ),
        errors.UrlFormError: ErrorRule(400, "invalid_url", "The URL can't be fetched: {problem}."),
        errors.UrlHostError: ErrorRule(
            400,
            "url_host_refused",
            "The URL's host is not one that this server fetches from: it is unknown, not public or "
            "not listed.",
        ),
        errors.UrlUnreachableError: ErrorRule(
            400, "url_unreachable", "The URL's host does not answer, or breaks off."
        ),
        errors.UrlTimeoutError: ErrorRule(
            400, "url_timeout", "The URL could not be fetched within {timeout_s:g} s."
        ),
        errors.UrlRedirectError: ErrorRule(
            400, "too_many_redirects", "The URL redirects more than {limit} times."
        ),
        errors.UrlStatusError: ErrorRule(
            400, "url_status", "The URL's host answers with status {status}."
        ),
        errors.UrlBytesError: ErrorRule(
            400,
            "url_too_large",
            "What the URL leads to has more than {limit_bytes} bytes, the most that is fetched.",
        ),
        errors.UrlAnswerError: ErrorRule(
            400, "url_answer_unusable", "The URL's answer can't be used: {problem}."
        ),
        errors.MatcherUnavailableError: ErrorRule(
            503,
            "matching_unavailable",
            "The picture could not be held against known material, so it is not judged.",
            SERVER_ERROR,
            _RETRY_AFTER_S,
        ),
        errors.AuditLogError: ErrorRule(
            503,
            "audit_log_unavailable",
            "The audit log can't be used at the moment.",
            SERVER_ERROR,
            _RETRY_AFTER_S,
        ),
        errors.NoAuditLogError: ErrorRule(
            404, "no_audit_log", "This server keeps no audit log, and so no reviews."
        ),
        errors.UnknownReviewError: ErrorRule(404, "unknown_review", "There is no such review."),
        errors.NoBatchesError: ErrorRule(
            404, "no_batches", "This server takes no batches: it has no folder to keep them in."
        ),
        errors.UnknownBatchError: ErrorRule(404, "unknown_batch", "There is no such batch."),
        errors.BatchContentTypeError: ErrorRule(
            400,
            "unsupported_content_type",
            "The content type of a batch must be application/x-ndjson or multipart/form-data.",
        ),
        errors.BatchLinesError: ErrorRule(
            400, "too_many_lines", "The batch has more than {limit} lines, the most that are taken."
        ),
        errors.BatchesAtOnceError: ErrorRule(
            429,
            "too_many_batches",
            "{limit} batches are not done yet, the most at once; come back when one is.",
            RATE_LIMIT,
            _RETRY_AFTER_BATCH_S,
        ),
        errors.BatchStorageError: ErrorRule(
            507,
            "batch_storage_full",
            "There is no room for this batch at the moment; nothing of it was kept.",
            SERVER_ERROR,
            _RETRY_AFTER_BATCH_S,
        ),
        errors.BatchEndedError: ErrorRule(
            409, "batch_ended", "The batch is {status} and can't be cancelled any more."
        ),
        errors.BatchNotEndedError: ErrorRule(
            409, "batch_not_ended", "The batch is {status}; cancel it before you delete it."
        ),
        errors.UnknownHostedModelError: ErrorRule(
            404, "unknown_model", "No model of this name is hosted here."
        ),
        errors.ModelNotAllowedError: ErrorRule(
            403,
            "model_not_allowed",
            "No such model may be loaded: name a reference variant, a folder inside of the "
            "server's models_dir that holds one, or a model that its operator has listed.",
        ),
        errors.ModelConflictError: ErrorRule(409, "model_conflict", "That can't be: {problem}."),
        errors.ModelUnfitError: ErrorRule(
            409, "model_unfit", "The model can't be served here: {reason}."
        ),
        errors.InvalidBodyError: ErrorRule(
            400, "invalid_body", "The request body can't be read: {problem}."
        ),
        errors.InvalidFieldError: ErrorRule(400, "invalid_field", "{problem}"),
        errors.ContentTypeError: ErrorRule(
            400,
            "unsupported_content_type",
            "The content type must be application/json or multipart/form-data.",
        ),
        errors.BodyBytesError: ErrorRule(
            413, "body_too_large", "The request body is larger than {limit_bytes} bytes."
        ),
        errors.InputCountError: ErrorRule(
            400, "too_many_inputs", "The call has {got} inputs; at most {limit} are taken."
        ),
        errors.ImageCountError: ErrorRule(
            400, "too_many_images", "The call has {got} images; at most {limit} are taken."
        ),
        errors.NothingToJudgeError: ErrorRule(
            400,
            "nothing_to_judge",
            "The conversation holds nothing that this server judges: it has no picture, and the "
            "policy has no words judged. Such a conversation is not answered.",
        ),
        errors.NotJudgedError: ErrorRule(
            422,
            "not_judged",
            "The conversation holds something that could not be judged, so it is not answered.",
        ),
        errors.InputNotJudgedError: ErrorRule(
            422,
            "input_not_judged",
            "The input could not be judged: the model gave no usable answer.",
        ),
        errors.ChatUnsupportedError: ErrorRule(
            400,
            "chat_unsupported",
            "The model is served by an engine that does not write answers.",
        ),
        errors.ConversationError: ErrorRule(
            400, "unsupported_messages", "The model does not take these messages: {problem}"
        ),
        errors.PictureLimitError: ErrorRule(
            400,
            "too_many_images",
            "The conversation has {got} images; this server's model takes {limit} in one.",
        ),
        errors.SeedError: ErrorRule(
            400,
            "seed_unsupported",
            "This server's engine runs on a CPU and can't sample with a seed; leave it out, or set "
            "the temperature to 0.",
        ),
        errors.TextLengthError: ErrorRule(
            400,
            "text_too_long",
            "The text has {got_chars} characters; at most {limit_chars} are taken.",
        ),
        errors.QuestionTooLongError: ErrorRule(
            400, "input_too_long", "The input does not fit into the model's {max_tokens} tokens."
        ),
        errors.ApiKeyError: ErrorRule(
            401,
            "invalid_api_key",
            "The API key is missing or wrong; send it as: Authorization: Bearer KEY.",
        ),
        errors.KeyScopeError: ErrorRule(
            403, "missing_scope", "This needs an API key with the scope {scope!r}."
        ),
        errors.QueueFullError: ErrorRule(
            429,
            "queue_full",
            "The server has as much work as it takes; come back in {retry_after_s:.1f} s.",
            RATE_LIMIT,
        ),
        errors.RateLimitError: ErrorRule(
            429,
            "rate_limit_exceeded",
            "This key may make {limit} calls; come back in {retry_after_s:.1f} s.",
            RATE_LIMIT,
        ),
        errors.DeadlineError: ErrorRule(
            504, "deadline_exceeded", "There was no answer within {timeout_s:g} s.", SERVER_ERROR
        ),
        errors.BodyTimeoutError: ErrorRule(
            408, "body_timeout", "The request body did not arrive within {timeout_s:g} s."
        ),
        errors.EngineStartingError: ErrorRule(
            503,
            "engine_starting",
            "The model is being loaded; try again shortly.",
            SERVER_ERROR,
            _RETRY_AFTER_S,
        ),
        errors.EngineRestartingError: ErrorRule(
            503,
            "engine_restarting",
            "The model is being loaded again after a failure; try again shortly.",
            SERVER_ERROR,
            _RETRY_AFTER_S,
        ),
        errors.DrainingError: ErrorRule(
            503,
            "server_draining",
            "The server is stopping and takes no new requests; send it again to reach another.",
            SERVER_ERROR,
            _RETRY_AFTER_DRAIN_S,
        ),
        errors.EngineUnavailableError: ErrorRule(
            503,
            "engine_unavailable",
            "The model can't answer at the moment.",
            SERVER_ERROR,
            _RETRY_AFTER_S,
        ),
    }
)


def rule_for(error: Exception) -> ErrorRule:
    """The rule of the nearest class in the table; 500 without any detail for all others."""
    for cls in type(error).__mro__:
        if issubclass(cls, errors.SightwardError) and cls in ERROR_RULES:
            return ERROR_RULES[cls]
    return _INTERNAL


def error_object(error: Exception, *, param: str | None = None) -> ErrorObject:
    """The error as the client sees it; `param` overrides the error's own."""
    rule = rule_for(error)
    return ErrorObject(
        message=rule.message.format_map(_Fields(error)),
        type=rule.type,
        param=param if param is not None else getattr(error, "param", None),
        code=rule.code,
    )


class _Fields(dict[str, Any]):
    """An error's fields by name, for a message."""

    def __init__(self, error: Exception) -> None:
        super().__init__(vars(error))
        if isinstance(error, errors.ImageFormatError):
            self["supported_names"] = ", ".join(error.supported)


def error_response(scope: Scope, error: Exception) -> JSONResponse:
    """The whole answer to a request that failed with `error`; noted for its log line."""
    if isinstance(error, RefusedInputError):
        cause: Exception = error.cause
        shown = error_object(cause, param=error.param)
    else:
        cause = error
        shown = error_object(cause)
    rule = rule_for(cause)
    # An error may know better than the table how long it will last.
    headers = _retry_headers(getattr(cause, "retry_after_s", rule.retry_after_s))
    if isinstance(cause, errors.DeadlineError):
        headers["x-should-retry"] = "false"  # whoever set it does not wait any more
    if rule.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return _respond(scope, rule.status, shown, headers)


def _retry_headers(retry_after_s: float | None) -> dict[str, str]:
    """When to come back: whole seconds for everyone, milliseconds for OpenAI's clients."""
    if retry_after_s is None:
        return {}
    return {
        "retry-after": str(max(1, math.ceil(retry_after_s))),
        "retry-after-ms": str(max(1, math.ceil(retry_after_s * 1000))),
    }


def install_error_handlers(app: FastAPI) -> None:
    """Answer our own and the framework's exceptions in the documented shape."""
    app.add_exception_handler(errors.SightwardError, _on_error)
    app.add_exception_handler(RefusedInputError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    return error_response(request.scope, error)


async def _on_validation_error(request: Request, _error: Exception) -> JSONResponse:
    return error_response(
        request.scope, errors.InvalidFieldError("The request is invalid.", param=None)
    )


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = (error.headers if isinstance(error, HTTPException) else None) or {}
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return error_response(request.scope, error)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {**headers, "Allow": ", ".join(_allowed(request))}
    phrase = HTTPStatus(status).phrase
    shown = ErrorObject(
        message=f"{phrase}.",
        type=INVALID_REQUEST,
        param=None,
        code=phrase.lower().replace(" ", "_"),
    )
    return _respond(request.scope, status, shown, headers)


def _allowed(request: Request) -> list[str]:
    """The methods of the path: each is a route of its own, and the framework names the first's."""
    found: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


def _respond(
    scope: Scope, status: int, shown: ErrorObject, headers: Mapping[str, str]
) -> JSONResponse:
    record_of(scope).error_code = shown.code
    return JSONResponse(
        ErrorBody(error=shown).model_dump(), status_code=status, headers=dict(headers)
    )
