"""Which worst pictures a page shows for each record, and why it shows none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alignment.data.manifest import ImageSet
from alignment.data.open_set import open_set_folder
from benchmarks.report.columns import Column
from benchmarks.report.thumbnails import (
    Thumbnail,
    WrongPictures,
    measured_images,
    thumbnails,
    worst_pictures,
)

WITHOUT_DATA = (
    "The pictures are not shown: this report was drawn without the data set's folder. Name it "
    "with --data."
)
OPEN_SET = (
    "The pictures are from the open set that ships with Sightward; ATTRIBUTION.md beside it names "
    "their authors."
)
SOME_MISSING = "Pictures that were not found in the data set, or could not be decoded, are missing."


@dataclass(frozen=True, slots=True)
class Gallery:
    """A record's worst mistakes; `remark` says whose its pictures are and why any are missing."""

    label: str
    wrong: WrongPictures
    thumbnails: Mapping[str, Thumbnail]
    remark: str = ""


def galleries_of(columns: Sequence[Column], data: Path | None) -> list[Gallery]:
    """A gallery a record that has mistakes about pictures.

    Raises `MeasurementError` if `data` is not what was measured.
    """
    images = measured_images([column.record for column in columns], data)
    galleries = []
    for column, found in zip(columns, images, strict=True):
        wrong = worst_pictures(column.record)
        if not wrong:
            continue
        made = {} if found is None else thumbnails(wrong, found)
        galleries.append(Gallery(column.label, wrong, made, _remark(found, wrong, made)))
    return galleries


def _remark(found: ImageSet | None, wrong: WrongPictures, made: Mapping[str, Thumbnail]) -> str:
    if found is None:
        return WITHOUT_DATA
    missing = SOME_MISSING if len(made) < len(wrong) else ""
    return f"{OPEN_SET if found.folder == open_set_folder() else ''} {missing}".strip()
