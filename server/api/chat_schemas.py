"""The request of ``POST /v1/chat/completions``, as JSON.

What would change an answer and is not done here is refused by name: a client that asks for tools
and gets none must hear of it. Fields that change no answer are let pass, and so is any unsupported
one in the value that asks for nothing (no tools, a penalty of 0).
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from server.api.schemas import IMAGE_URL_SCHEMA, encodable, invalid_field
from server.errors import InvalidFieldError

_MAX_STOPS = 4
_SEED_BOUND = 1 << 63

_IGNORED = frozenset(
    {"metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention"}
    | {"safety_identifier", "service_tier", "store", "user"}
)
_IGNORED_IN_MESSAGES = frozenset({"name", "annotations"})
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}
"""What is not supported, with the values that ask for nothing."""

Words = Annotated[str, AfterValidator(encodable)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class ChatImageUrl(_Strict):
    """Where a picture is: a base64 data URL. Every picture is read in full `detail`."""

    url: Annotated[Words, Field(min_length=1), WithJsonSchema(IMAGE_URL_SCHEMA)]
    detail: Literal["auto", "low", "high"] = "auto"


class ChatTextPart(_Strict):
    """Words within a message."""

    type: Literal["text"]
    text: Words


class ChatImagePart(_Strict):
    """A picture within a user's message."""

    type: Literal["image_url"]
    image_url: ChatImageUrl


def _part_tag(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else None
    return {"text": "<text>", "image_url": "<image>"}.get(kind) if isinstance(kind, str) else None


def _content_tag(value: object) -> str | None:
    if isinstance(value, str):
        return "<string>"
    return "<parts>" if isinstance(value, list) and value else None


_WORDS_TYPE = "Input should be a string or a list of text parts, and not empty"
_PARTS_TYPE = "Input should be a string or a list of text and image_url parts, and not empty"
ChatPart = Annotated[
    Annotated[ChatTextPart, Tag("<text>")] | Annotated[ChatImagePart, Tag("<image>")],
    Discriminator(
        _part_tag,
        custom_error_type="unknown_part",
        custom_error_message='Input should be a part of type "text" or "image_url"',
    ),
]
UserContent = Annotated[
    Annotated[Words, Tag("<string>")]
    | Annotated[tuple[ChatPart, ...], Tag("<parts>"), Field(strict=False, min_length=1)],
    Discriminator(_content_tag, custom_error_type="content", custom_error_message=_PARTS_TYPE),
]
WordsContent = Annotated[
    Annotated[Words, Tag("<string>")]
    | Annotated[tuple[ChatTextPart, ...], Tag("<parts>"), Field(strict=False, min_length=1)],
    Discriminator(_content_tag, custom_error_type="content", custom_error_message=_WORDS_TYPE),
]


class UserMessage(_Strict):
    """What the user said and showed."""

    role: Literal["user"]
    content: UserContent


class OtherMessage(_Strict):
    """What the system was told, or the assistant answered: words alone."""

    role: Literal["system", "developer", "assistant"]
    content: WordsContent


def _message_tag(value: object) -> str | None:
    role = value.get("role") if isinstance(value, dict) else None
    if role == "user":
        return "<user>"
    return "<other>" if role in ("system", "developer", "assistant") else None


ChatMessage = Annotated[
    Annotated[UserMessage, Tag("<user>")] | Annotated[OtherMessage, Tag("<other>")],
    Discriminator(
        _message_tag,
        custom_error_type="unknown_role",
        custom_error_message='Input should be a message of role "system", "developer", "user" or '
        '"assistant"',
    ),
]


class StreamOptions(_Strict):
    """`include_obfuscation` is taken and not done: it changes no answer."""

    include_usage: bool = False
    include_obfuscation: bool = False


Stop = Annotated[Words, Field(min_length=1)]
Stops = Annotated[tuple[Stop, ...], Field(strict=False, max_length=_MAX_STOPS)]


class ChatRequest(_Strict):
    """The JSON body, without what is ignored or asks for nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {
                "properties": {"stream_options": {"type": "object"}},
                "required": ["stream_options"],
            },
            "then": {"properties": {"stream": {"const": True}}, "required": ["stream"]},
        }
    )

    messages: Annotated[tuple[ChatMessage, ...], Field(strict=False, min_length=1)]
    model: Words | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    stop: Stops = ()
    seed: Annotated[int, Field(ge=-_SEED_BOUND, le=_SEED_BOUND - 1)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


_REQUEST = TypeAdapter(ChatRequest)


def parse_chat_request(body: object) -> ChatRequest:
    """The request in a parsed JSON body; raises `InvalidFieldError` with the field's path."""
    try:
        request = _REQUEST.validate_python(_supported(body))
    except ValidationError as error:
        raise invalid_field(error, prefix="") from error
    if request.stream_options is not None and not request.stream:
        raise InvalidFieldError(
            "Invalid value at stream_options: it needs stream to be true.", param="stream_options"
        )
    last = request.messages[-1]
    if last.role != "user":
        raise InvalidFieldError(
            f"Invalid value at messages: the last one is of role {last.role!r}; a user's message "
            "is answered.",
            param=f"messages[{len(request.messages) - 1}].role",
        )
    return request


def _supported(body: object) -> object:
    """`body` without what is ignored; raises `InvalidFieldError` for what is not supported."""
    if not isinstance(body, dict):
        return body
    kept: dict[str, Any] = {}
    for name, value in body.items():
        # null stands for "not given"; clients write both.
        if value is None or name in _IGNORED:
            continue
        if name in _NEUTRAL:
            _refuse_unless_neutral(name, value)
            continue
        kept[name] = value
    if isinstance(kept.get("stop"), str):
        kept["stop"] = [kept["stop"]]
    if isinstance(kept.get("messages"), list):
        kept["messages"] = [_message(message) for message in kept["messages"]]
    return kept


def _message(message: object) -> object:
    """An answer that a client sends back brings fields along that say nothing."""
    if not isinstance(message, dict):
        return message
    return {
        name: value
        for name, value in message.items()
        if name not in _IGNORED_IN_MESSAGES and (value is not None or name == "content")
    }


def _refuse_unless_neutral(name: str, value: object) -> None:
    neutral = _NEUTRAL[name]
    # 0 == False and 1 == True: a number where a truth value belongs is not looked at closely.
    if value in neutral:
        return
    allowed = " or ".join(json.dumps(one) for one in neutral)
    only = f"; only {allowed} is" if allowed else ""
    raise InvalidFieldError(f"{name} is not supported with this value{only}.", param=name)
