"""A moderation call as the pipeline sees it, whichever way it was written down.

JSON and forms become the same `ModerationCall`. What concerns one input alone (its bytes, its URL,
its length) is not checked here but where that input is prepared, so that it can fail alone.
"""

from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from server.api.json_body import is_unicode, parse_json
from server.api.schemas import (
    ImagePart,
    ModerationRequest,
    SightwardOptions,
    parse_moderation_request,
    parse_options,
)
from server.errors import (
    ContentTypeError,
    ImageCountError,
    InputCountError,
    InvalidBodyError,
    InvalidFieldError,
)
from server.settings import Settings

_FILE_FIELD = "file"
_TEXT_FIELD = "input"
_MAX_FORM_FIELDS = 1_000


@dataclass(frozen=True, slots=True)
class TextInput:
    """A text; `param` is where it stood in the request, for errors."""

    param: str
    text: str


@dataclass(frozen=True, slots=True)
class ImageUrlInput:
    """A picture named or carried by a URL."""

    param: str
    url: str


@dataclass(frozen=True, slots=True)
class UploadInput:
    """An uploaded picture."""

    param: str
    upload: UploadFile


CallInput = TextInput | ImageUrlInput | UploadInput


@dataclass(frozen=True, slots=True)
class ModerationCall:
    """What to judge. With `is_merged` all inputs get one result, else each gets its own."""

    inputs: tuple[CallInput, ...]
    is_merged: bool
    options: SightwardOptions

    @property
    def images(self) -> int:
        """How many of the inputs are pictures."""
        return sum(not isinstance(item, TextInput) for item in self.inputs)


async def read_call(request: Request, settings: Settings) -> ModerationCall:
    """The call in a request's body; raises a `RequestError`."""
    content_type = request.headers.get("content-type", "application/json")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        call = await _call_from_form(request, settings)
    elif media_type == "application/json":
        call = call_from_json(parse_moderation_request(parse_json(await request.body())))
    else:
        raise ContentTypeError
    return checked_call(call, settings)


def checked_call(call: ModerationCall, settings: Settings) -> ModerationCall:
    """The call, if it is within the limits on its inputs; raises a `RequestError`."""
    if len(call.inputs) > settings.max_inputs:
        raise InputCountError(limit=settings.max_inputs, got=len(call.inputs))
    if call.images > settings.max_images:
        raise ImageCountError(limit=settings.max_images, got=call.images)
    ids = call.options.ids
    if ids is not None and len(ids) != len(call.inputs):
        raise InvalidFieldError(
            f"{len(ids)} ids name {len(call.inputs)} inputs; each needs one.", param="sightward.ids"
        )
    return call


def call_from_json(body: ModerationRequest) -> ModerationCall:
    """The call that a JSON body describes."""
    if isinstance(body.input, str):
        return ModerationCall((TextInput("input", body.input),), False, body.sightward)
    inputs: list[CallInput] = []
    has_parts = False
    for index, item in enumerate(body.input):
        if isinstance(item, str):
            inputs.append(TextInput(f"input[{index}]", item))
            continue
        has_parts = True
        if isinstance(item, ImagePart):
            inputs.append(ImageUrlInput(f"input[{index}].image_url.url", item.image_url.url))
        else:
            inputs.append(TextInput(f"input[{index}].text", item.text))
    # The original gives a list of strings one result each and merges a list of parts.
    is_merged = has_parts and not body.sightward.per_input
    return ModerationCall(tuple(inputs), is_merged, body.sightward)


async def _call_from_form(request: Request, settings: Settings) -> ModerationCall:
    await _require_whole_form(request)
    try:
        form = await request.form(
            max_files=settings.max_images,
            max_fields=_MAX_FORM_FIELDS,
            max_part_size=settings.max_body_bytes,
        )
    except HTTPException as error:
        problem = str(error.detail).rstrip(".")[:200]
        raise InvalidBodyError(f"it is no multipart form ({problem})") from error
    options = _form_options(form)
    inputs = _form_inputs(form)
    if not inputs:
        raise InvalidFieldError("The form has neither a file nor an input.", param=_FILE_FIELD)
    return ModerationCall(inputs, not options.per_input, options)


async def _require_whole_form(request: Request) -> None:
    """Refuse a form without its closing boundary.

    The parser silently drops a part that is cut short: the rest would be judged as if it were all.
    """
    boundary = _boundary(request.headers.get("content-type", ""))
    if not boundary:
        raise InvalidBodyError("it is a multipart form without a boundary")
    if b"--" + boundary.encode("latin-1") + b"--" not in await request.body():
        raise InvalidBodyError("it is a multipart form without its end")


def _boundary(content_type: str) -> str:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "boundary":
            return value.strip().strip('"')
    return ""


def _form_inputs(form: FormData) -> tuple[CallInput, ...]:
    """Files and texts in the form's own order; each is named by its place in that order."""
    inputs: list[CallInput] = []
    for name, value in form.multi_items():
        place = f"{name}[{sum(item.param.startswith(f'{name}[') for item in inputs)}]"
        if isinstance(value, UploadFile):
            if name != _FILE_FIELD:
                # Ignoring it like other unknown fields would leave a picture unjudged.
                raise InvalidFieldError(
                    f"Uploads are taken under the field name {_FILE_FIELD!r} only.",
                    param=name[:200],
                )
            inputs.append(UploadInput(place, value))
        elif name == _FILE_FIELD:
            raise InvalidFieldError("A file field needs a file name and content.", param=place)
        elif name == _TEXT_FIELD:
            if not value or not is_unicode(value):
                raise InvalidFieldError("An input field needs a text.", param=place)
            inputs.append(TextInput(place, value))
    return tuple(inputs)


def _form_options(form: FormData) -> SightwardOptions:
    for name in ("model", "sightward"):
        given = form.getlist(name)
        if len(given) > 1:
            raise InvalidFieldError(f"The form has more than one {name}.", param=name)
        if given and not isinstance(given[0], str):
            raise InvalidFieldError(f"The {name} field must not be a file.", param=name)
    options = form.get("sightward")
    if not isinstance(options, str):
        return SightwardOptions()
    try:
        return parse_options(parse_json(options.encode("utf-8")))
    except InvalidBodyError as error:
        raise InvalidFieldError(
            f"The sightward field can't be read: {error.problem}.", param="sightward"
        ) from error
