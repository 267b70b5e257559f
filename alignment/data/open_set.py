"""The open set: a small labelled image set that ships with the product.

Icons and emoji under permissive licences, so that every benchmark runs on a fresh copy without a
download or an account. It is for testing alone: every picture is of the split ``test``, and its
drawings are too few and too plain to say how a model does on photographs. Its README gives counts
and weaknesses; ATTRIBUTION.md beside it names every author.
"""

from pathlib import Path

from alignment.data.manifest import ImageSet, read_image_set

OPEN_LICENCES = ("Apache-2.0", "CC-BY-3.0", "CC-BY-4.0", "MIT")
"""What a picture of the open set may be under; share-alike and non-commercial terms are not."""

OPEN_STYLES = ("emoji", "icon")
"""What kind of picture may be in it; photographs show people, and their rights are unclear."""

MAX_OPEN_BYTES = 3 * 1024 * 1024


def open_set_folder() -> Path:
    """Where the shipped set lies: a folder with a manifest.jsonl and images."""
    return Path(__file__).with_name("open_set")


def read_open_set() -> ImageSet:
    """Read and check the shipped set. Raises `ManifestError` if it was damaged."""
    return read_image_set(open_set_folder(), name="open-set")
