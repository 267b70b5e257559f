"""Builds the open set from a larger labelled folder: what may be given away, and nothing else.

The rule, in `refusal`: the test split only, icons and emoji only, from a package whose licence is
one of `OPEN_LICENCES`. What the rule refuses is left out; what passes it and is then not what its
manifest says (another licence than the package's, an unknown author, a file that isn't that WebP)
stops the build, since giving it away would be a wrong no later test can see. Files are copied byte
for byte and everything is sorted by id, so the same folder gives the same set.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated

from cyclopts import App
from PIL import Image
from pydantic import Field, ValidationError

from alignment.data.manifest import MANIFEST_NAME, Example, ManifestError
from alignment.data.open_set import MAX_OPEN_BYTES, OPEN_LICENCES, OPEN_STYLES
from alignment.data.open_set_credits import Collection, Credits, attribution, load_credits
from server.errors import SightwardError

ATTRIBUTION_NAME = "ATTRIBUTION.md"
IMAGES_NAME = "images"
PACKAGE_PREFIX = "npm:"
MANIFEST_FIELDS = (
    *("id", "file", "width", "height", "style", "label", "concept", "category", "proxy"),
    *("caption", "split", "group", "source", "license", "author"),
)

app = App(name="build_open_set", help="Build the open set from a larger labelled folder.")


class OpenSetError(SightwardError):
    """The open set can't be built; `reason` says why, with the example where there is one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SourceLine(Example):
    """A line of the larger folder's manifest, with the size in pixels it claims.

    The id names the file that is written, so it may hold nothing that leads out of the folder.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A picture that goes into the set: its line, its bytes and whom to thank."""

    line: SourceLine
    content: bytes
    collection: Collection
    author: str

    @property
    def file(self) -> str:
        """Its path in the set."""
        return f"{IMAGES_NAME}/{self.line.id}.webp"


def refusal(line: Example) -> str | None:
    """Why the picture may not be given away; None if it may."""
    if line.split != "test":
        return "not of the test split"
    if line.style not in OPEN_STYLES:
        return f"style {line.style!r} is not icon or emoji"
    if not line.source.startswith(PACKAGE_PREFIX):
        return "not from an icon package"
    if line.license not in OPEN_LICENCES:
        return f"licence {line.license!r} is not permitted"
    return None


def build_open_set(refset: Path, out: Path, credit: Credits | None = None) -> tuple[Chosen, ...]:
    """Write manifest.jsonl, images and ATTRIBUTION.md to `out` and return what went in.

    Raises `ManifestError` for a manifest that can't be read and `OpenSetError` for everything that
    must not be given away, for a set that is too large, and if `out` holds a set already.
    """
    taken = [out / name for name in (MANIFEST_NAME, IMAGES_NAME, ATTRIBUTION_NAME)]
    if standing := [path.name for path in taken if path.exists()]:
        raise OpenSetError(f"{out} already holds {', '.join(standing)}: remove them first")
    credit = load_credits() if credit is None else credit
    lines = _read_lines(refset / MANIFEST_NAME)
    trained_on = {line.group for line in lines if line.split == "train" and line.group}
    chosen = []
    for line in sorted(lines, key=lambda one: one.id):
        if refusal(line) is not None:
            continue
        if line.group in trained_on:
            raise OpenSetError(f"{line.id}: its group {line.group!r} was trained on")
        chosen.append(_choose(line, refset, credit))
    if not chosen:
        raise OpenSetError(f"{refset} has no picture that may be given away")
    total_bytes = sum(len(one.content) for one in chosen)
    if total_bytes > MAX_OPEN_BYTES:
        raise OpenSetError(f"{total_bytes} bytes of images, the limit is {MAX_OPEN_BYTES}")
    _write(chosen, out)
    return tuple(chosen)


def _read_lines(path: Path) -> list[SourceLine]:
    if not path.is_file():
        raise ManifestError(path, 0, "no such file")
    lines: dict[str, SourceLine] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = SourceLine.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ManifestError(path, number, f"{where}: {first['msg']}") from error
        if line.id in lines:
            raise ManifestError(path, number, f"id {line.id!r} stands twice")
        lines[line.id] = line
    return list(lines.values())


def _choose(line: SourceLine, refset: Path, credit: Credits) -> Chosen:
    package_version, _, icon = line.source.removeprefix(PACKAGE_PREFIX).partition("#")
    package, _, version = package_version.rpartition("@")
    collection = credit.of(package, version)
    if collection is None:
        raise OpenSetError(f"{line.id}: nobody is credited for {package_version!r}")
    if collection.license != line.license:
        raise OpenSetError(
            f"{line.id}: the manifest says {line.license}, {package} is under {collection.license}"
        )
    author = collection.author_of(icon)
    if author is None:
        raise OpenSetError(f"{line.id}: {package} names no artist for {icon!r}")
    return Chosen(line, _checked_content(line, refset / line.file), collection, author)


def _checked_content(line: SourceLine, path: Path) -> bytes:
    try:
        content = path.read_bytes()
        with Image.open(BytesIO(content)) as image:
            image.load()
            image_format, size = image.format, image.size
            metadata = sorted({"exif", "xmp"} & image.info.keys())
    except OSError as error:
        raise OpenSetError(f"{line.id}: {path} can't be read as a picture") from error
    if image_format != "WEBP" or size != (line.width, line.height):
        raise OpenSetError(f"{line.id}: {path} is {image_format} of {size[0]} x {size[1]} pixels")
    if metadata:
        raise OpenSetError(f"{line.id}: {path} carries metadata: {', '.join(metadata)}")
    return content


def _write(chosen: Sequence[Chosen], out: Path) -> None:
    (out / IMAGES_NAME).mkdir(parents=True)
    lines = []
    for one in chosen:
        (out / one.file).write_bytes(one.content)
        own = {"file": one.file, "author": one.author}
        fields = {name: own.get(name) or getattr(one.line, name) for name in MANIFEST_FIELDS}
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    (out / MANIFEST_NAME).write_text("".join(lines), encoding="utf-8")
    sides_px = [side for one in chosen for side in (one.line.width, one.line.height)]
    used = [(one.collection, one.author) for one in chosen]
    (out / ATTRIBUTION_NAME).write_text(attribution(used, sides_px), encoding="utf-8")


@app.default
def build(refset: Path, out: Path) -> None:
    """Copy what may be given away, with a manifest and an attribution page.

    Parameters
    ----------
    refset
        A folder with a manifest.jsonl and WebP images.
    out
        Where the set goes; must not hold one yet.
    """
    chosen = build_open_set(refset, out)
    total_bytes = sum(len(one.content) for one in chosen)
    unsafe = sum(one.line.unsafe for one in chosen)
    print(f"wrote {len(chosen)} pictures ({unsafe} unsafe, {total_bytes} bytes) to {out}")  # noqa: T201


def main() -> None:
    """Run the command line; errors raised on purpose are one line, not a traceback."""
    try:
        app()
    except SightwardError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
