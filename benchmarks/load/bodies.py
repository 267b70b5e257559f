"""Request bodies, all made before the first is sent, and kept in a file.

Encoding a picture takes the client milliseconds of a core, which under load would be the service's.
"""

import base64
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from alignment.data.manifest import Example, ImageSet
from benchmarks.fresh_images import fresh_jpeg

_SPOOL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Turn:
    """One request to come: which example, and in which pass over the set."""

    example: Example
    pass_number: int


@dataclass(frozen=True, slots=True)
class BodyShape:
    """How a picture is asked about: with our extra or without, and of which model."""

    with_detail: bool = True
    model: str | None = None

    def of_picture(self, data: bytes, media_type: str) -> bytes:
        """The body that asks about one encoded picture."""
        url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
        return self._of([{"type": "image_url", "image_url": {"url": url}}])

    def of_text(self, text: str) -> bytes:
        """The body that asks about words."""
        return self._of(text)

    def _of(self, asked: Any) -> bytes:
        body: dict[str, Any] = {"input": asked}
        if self.model is not None:
            body["model"] = self.model
        if self.with_detail:
            body["sightward"] = {"detail": True}
        return json.dumps(body).encode()


class Bodies(Sequence[bytes]):
    """Bodies by number, in memory while they are few and in a temporary file when not."""

    def __init__(self, bodies: Iterable[bytes]) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115
        self._places: list[tuple[int, int]] = []
        place = 0
        for body in bodies:
            self._file.write(body)
            self._places.append((place, len(body)))
            place += len(body)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        place, count = self._places[index]
        self._file.seek(place)
        return self._file.read(count)


def make_bodies(
    image_set: ImageSet,
    turns: Sequence[Turn],
    shape: BodyShape,
    *,
    fresh: bool,
    seed: int,
    on_body: Callable[[], None] = lambda: None,
) -> Bodies:
    """One body a turn. `fresh` pixels differ in every turn, by less than can be seen; else files
    go as they are.

    Raises `PictureFileError` for a file that is no picture.
    """
    import mimetypes

    def bodies() -> Iterable[bytes]:
        for number, turn in enumerate(turns):
            if fresh:
                data, media_type = (
                    fresh_jpeg(image_set.open(turn.example), seed=(seed, turn.pass_number, number)),
                    "image/jpeg",
                )
            else:
                path = image_set.path_of(turn.example)
                data = path.read_bytes()
                media_type = mimetypes.guess_type(path.name)[0] or "image/jpeg"
            yield shape.of_picture(data, media_type)
            on_body()

    return Bodies(bodies())
