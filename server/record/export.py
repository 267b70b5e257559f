"""Decided reviews as a labelled set that ``alignment`` trains on: from production back to training.

The audit log holds no pictures, so an export needs to be shown where they are: the folder of kept
copies, or a folder of the caller's own. There a picture is known by its fingerprint, wherever it
lies and whatever it is called; the caller's name for it only says where to look first. What is
found is copied beside the manifest, which so becomes a set like any other. What is not found is
listed with fingerprint and the caller's name, to be exported again when the pictures are at hand.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from server.errors import ImageError
from server.ingest.decode import ImageDecoder
from server.ingest.limits import ImageLimits
from server.record.entries import Review
from server.record.kept_images import KeptImages

MANIFEST_NAME = "manifest.jsonl"
MISSING_NAME = "missing.jsonl"
IMAGES_NAME = "images"
_SOURCE = "review"


@dataclass(frozen=True, slots=True)
class Exported:
    """How many pictures are in the manifest, and of how many the picture was not found."""

    written: int
    missing: int


def export_reviews(
    reviews: Iterable[Review],
    out: Path,
    *,
    pictures: Path | None = None,
    kept: Path | None = None,
    limits: ImageLimits | None = None,
) -> Exported:
    """Write the decided pictures among `reviews` into the folder `out`.

    Of several decisions about one picture the newest counts. `limits` must be those of the server
    that judged, since very large pictures are reduced before their fingerprint is taken. Raises
    `OSError` where nothing can be written.
    """
    decided = _newest(reviews)
    finder = _Finder(pictures, kept, ImageDecoder(limits or ImageLimits()))
    (out / IMAGES_NAME).mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    for fingerprint, review in sorted(decided.items()):
        found = finder.find(fingerprint, review.verdict.caller_id)
        line = _line(fingerprint, review)
        if found is None:
            missing.append(line)
            continue
        file = PurePosixPath(IMAGES_NAME, f"{fingerprint}{found.suffix.lower()}")
        shutil.copyfile(found, out / file)
        lines.append({"id": fingerprint, "file": str(file), **line})
    _write(out / MANIFEST_NAME, lines)
    _write(out / MISSING_NAME, missing)
    return Exported(len(lines), len(missing))


def _newest(reviews: Iterable[Review]) -> dict[str, Review]:
    newest: dict[str, Review] = {}
    for review in reviews:
        fingerprint = review.verdict.fingerprint
        if fingerprint is None or review.decision is None:
            continue
        other = newest.get(fingerprint)
        is_newer = other is None or other.decision is None or other.decision.id < review.decision.id
        if is_newer:
            newest[fingerprint] = review
    return newest


def _line(fingerprint: str, review: Review) -> dict[str, Any]:
    verdict, decision = review.verdict, review.decision
    if decision is None:
        raise ValueError("an open review has no label")
    return {
        "label": decision.label,
        "concept": decision.concept,
        "category": "Safe" if decision.label == "Safe" else decision.category,
        "source": _SOURCE,
        "fingerprint": fingerprint,
        "caller_id": verdict.caller_id,
        "verdict_id": verdict.id,
        "decided_by": decision.key_id,
        "p_unsafe": verdict.p_unsafe,
        "model_version": verdict.model_version,
        "policy_version": verdict.policy_version,
    }


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    draft = path.with_name(f"{path.name}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    draft.replace(path)


class _Finder:
    """Finds pictures by their fingerprints; the folder is read through when it is first needed."""

    def __init__(self, pictures: Path | None, kept: Path | None, decoder: ImageDecoder) -> None:
        self._pictures = pictures
        self._kept = None if kept is None else KeptImages(kept)
        self._decoder = decoder
        self._by_fingerprint: dict[str, Path] = {}
        self._unread = self._files()

    def find(self, fingerprint: str, caller_id: str | None) -> Path | None:
        """Where the picture lies; None: not in any of the folders."""
        if self._kept is not None and self._kept.path_of(fingerprint).is_file():
            return self._kept.path_of(fingerprint)
        named = self._named(caller_id)
        if named is not None and self._fingerprint(named) == fingerprint:
            return named
        if fingerprint in self._by_fingerprint:
            return self._by_fingerprint[fingerprint]
        for path in self._unread:
            found = self._fingerprint(path)
            if found is not None:
                self._by_fingerprint.setdefault(found, path)
            if found == fingerprint:
                return path
        return None

    def _named(self, caller_id: str | None) -> Path | None:
        """The file that the caller's name means, if it is one inside of the folder."""
        if self._pictures is None or not caller_id or "\0" in caller_id:
            return None
        try:
            path = (self._pictures / caller_id).resolve()
            is_inside = path.is_relative_to(self._pictures.resolve())
            return path if is_inside and path.is_file() else None
        except OSError:
            return None

    def _files(self) -> Iterator[Path]:
        if self._pictures is not None:
            yield from (path for path in sorted(self._pictures.rglob("*")) if path.is_file())

    def _fingerprint(self, path: Path) -> str | None:
        try:
            return self._decoder.decode(path.read_bytes()).fingerprint
        except (ImageError, OSError):
            return None
