"""What a reader of a foreign layout hands over: one labelled picture, names not yet checked."""

from dataclasses import dataclass

from alignment.data.columns import Label


@dataclass(frozen=True, slots=True)
class ForeignPicture:
    """A picture as its source has it.

    `data` are the original bytes. `label` is None where the source says neither. `concept` and
    `category` are the source's own names; `split` is the source's own split, empty for none.
    `origin` says where in the source it stands.
    """

    data: bytes
    label: Label | None
    origin: str
    concept: str = ""
    category: str = ""
    caption: str = ""
    group: str = ""
    split: str = ""
