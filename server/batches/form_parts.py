"""A form of pictures and lines, taken apart while it arrives.

`file` parts are pictures, named by their files; one `requests` part holds JSON lines; `sightward`
holds options for all pictures. Whatever else has a file name is refused, since a picture that was
passed over would be one that nobody judged.
"""

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.api.json_body import is_unicode, parse_json
from server.api.schemas import SightwardOptions, parse_options
from server.batches.draft import Draft
from server.errors import InvalidBodyError, InvalidFieldError

PICTURE_FIELD = "file"
LINES_FIELD = "requests"
OPTIONS_FIELD = "sightward"

_MAX_OPTIONS_BYTES = 64 * 1024
_MAX_OTHER_FIELDS = 100


class FormParts:
    """Writes a form's parts to `draft`; raises `InvalidBodyError` and `InvalidFieldError`."""

    def __init__(self, draft: Draft, content_type: str, *, max_lines: int) -> None:
        _, parameters = parse_options_header(content_type)
        boundary = parameters.get(b"boundary", b"")
        if not boundary:
            raise InvalidBodyError("it is a multipart form without a boundary")
        self.options = SightwardOptions()
        self._draft = draft
        self._max_lines = max_lines
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )
        self._header_name, self._header_value = b"", b""
        self._disposition = b""
        self._field = ""
        self._options: bytearray | None = None
        self._has_options = self._has_lines = self._has_ended = False
        self._others = 0

    def feed(self, data: bytes) -> None:
        """Take what came apart, and write it."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise InvalidBodyError("it is no multipart form") from error

    def finish(self) -> None:
        """Make sure that it was all."""
        if not self._has_ended:
            raise InvalidBodyError("it is a multipart form without its end")

    def _on_part_begin(self) -> None:
        self._disposition = b""
        self._header_name = self._header_value = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        self._field = _decoded(parameters.get(b"name", b""))
        has_name = b"filename" in parameters
        if self._field == PICTURE_FIELD:
            if not has_name:
                raise InvalidFieldError(
                    "A file field needs a file name and content.", param=PICTURE_FIELD
                )
            name = _decoded(parameters[b"filename"])
            self._draft.begin(custom_id=name, max_lines=self._max_lines)
        elif self._field == LINES_FIELD:
            if self._has_lines:
                raise InvalidFieldError("The form has more than one requests.", param=LINES_FIELD)
            self._has_lines = True
            self._draft.begin(custom_id=None, max_lines=self._max_lines)
        elif has_name:
            raise InvalidFieldError(
                f"Uploads are taken under the field names {PICTURE_FIELD!r} and {LINES_FIELD!r} "
                "only.",
                param=self._field[:200] or None,
            )
        elif self._field == OPTIONS_FIELD:
            if self._has_options:
                raise InvalidFieldError(
                    "The form has more than one sightward.", param=OPTIONS_FIELD
                )
            self._has_options = True
            self._options = bytearray()
        else:
            self._others += 1
            if self._others > _MAX_OTHER_FIELDS:
                raise InvalidBodyError("it has too many fields")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field in (PICTURE_FIELD, LINES_FIELD):
            self._draft.write(data[start:end], max_lines=self._max_lines)
        elif self._options is not None:
            self._options += data[start:end]
            if len(self._options) > _MAX_OPTIONS_BYTES:
                raise InvalidFieldError("The sightward field is too long.", param=OPTIONS_FIELD)

    def _on_part_end(self) -> None:
        if self._field in (PICTURE_FIELD, LINES_FIELD):
            self._draft.end(max_lines=self._max_lines)
        elif self._options is not None:
            self.options = _options(bytes(self._options))
            self._options = None

    def _on_end(self) -> None:
        self._has_ended = True


def _decoded(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    if not is_unicode(text) or "\0" in text:
        raise InvalidFieldError("A field's or file's name is no text.", param=PICTURE_FIELD)
    return text


def _options(value: bytes) -> SightwardOptions:
    try:
        options = parse_options(parse_json(value))
    except InvalidBodyError as error:
        raise InvalidFieldError(
            f"The sightward field can't be read: {error.problem}.", param=OPTIONS_FIELD
        ) from error
    if options.ids is not None:
        raise InvalidFieldError(
            "A batch's pictures are named by their files; leave the ids out.",
            param="sightward.ids",
        )
    return options
