"""Which column of a foreign table holds what, and which label values mean unsafe.

Written on a command line as ``image=img,label=nsfw,unsafe=1|true,caption=text``: pairs joined by
commas, several values joined by ``|``. Values are compared as text, whatever their case: a yes/no
column holds ``true`` and ``false``, a class column may be given by class name or by number.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from alignment.data.errors import ColumnMapError

Label = Literal["Safe", "Unsafe"]


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Columns by what they hold; an empty name means that there is no such column.

    - `image`: encoded bytes, base64 text, or the name of a file in the folder.
    - `label` with `unsafe` (values that mean unsafe) and optionally `safe` (values that mean safe;
      left empty, all others do). A value in neither, or none at all, labels nothing.
    - `all_are` in place of those three, for a set of one kind only.
    - `concept`, `category`, `caption`, `group`: columns copied where there are any.
    - `config` and `files` pick a part of a large set: the hub's configuration name, and a pattern
      of the files to download and read, which then count as one split.

    Raises `ColumnMapError`.
    """

    image: str = "image"
    label: str = ""
    unsafe: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()
    all_are: Literal["safe", "unsafe", ""] = ""
    concept: str = ""
    category: str = ""
    caption: str = ""
    group: str = ""
    config: str = ""
    files: str = ""

    def __post_init__(self) -> None:
        if not self.image:
            raise ColumnMapError("image names no column")
        if self.all_are:
            if self.all_are not in ("safe", "unsafe"):
                raise ColumnMapError(f"all is safe or unsafe, not {self.all_are!r}")
            if self.label or self.unsafe or self.safe:
                raise ColumnMapError("all stands in place of label, unsafe and safe")
        elif not self.label or not self.unsafe:
            raise ColumnMapError("either label and unsafe are needed, or all=safe or all=unsafe")
        both = sorted({_text(one) for one in self.unsafe} & {_text(one) for one in self.safe})
        if both:
            raise ColumnMapError(f"{', '.join(both)} can't mean both safe and unsafe")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the command line's form. Raises `ColumnMapError` naming the part at fault."""
        fields: dict[str, Any] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if key not in _FIELD_OF:
                raise ColumnMapError(f"unknown key {key!r}; known: {', '.join(_FIELD_OF)}")
            if not equals or not value:
                raise ColumnMapError(f"{key} has no value; write {key}=...")
            if _FIELD_OF[key] in fields:
                raise ColumnMapError(f"{key} stands twice; join several values by '|'")
            fields[_FIELD_OF[key]] = (
                tuple(filter(None, (one.strip() for one in value.split("|"))))
                if key in ("unsafe", "safe")
                else value
            )
        return cls(**fields)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        named = (self.image, self.label, self.concept, self.category, self.caption, self.group)
        return tuple(dict.fromkeys(name for name in named if name))

    def label_of(
        self, row: Mapping[str, Any], class_names: tuple[str, ...] | None
    ) -> tuple[Label | None, tuple[str, ...]]:
        """The row's label, None where it has none, and the label column's value as texts.

        `class_names` are the names behind the numbers of a class column.
        """
        if self.all_are:
            return ("Unsafe" if self.all_are == "unsafe" else "Safe"), ()
        value = row[self.label]
        texts = {_text(value)} - {""}
        if class_names and isinstance(value, int) and 0 <= value < len(class_names):
            texts.add(_text(class_names[value]))
        label: Label | None = None
        if texts & {_text(one) for one in self.unsafe}:
            label = "Unsafe"
        elif texts and (not self.safe or texts & {_text(one) for one in self.safe}):
            label = "Safe"
        return label, tuple(sorted(texts))

    def unseen(self, seen: set[str]) -> tuple[str, ...]:
        """The values said to mean unsafe that no row has: most likely mistyped."""
        return tuple(one for one in self.unsafe if _text(one) not in seen)


_FIELD_OF = {
    "image": "image",
    "label": "label",
    "unsafe": "unsafe",
    "safe": "safe",
    "all": "all_are",
    "concept": "concept",
    "category": "category",
    "caption": "caption",
    "group": "group",
    "config": "config",
    "files": "files",
}


def _text(value: object) -> str:
    """A label value as text: no case, no spaces around it, whole floats without their fraction."""
    if value is None:
        return ""
    if isinstance(value, float):
        if math.isnan(value):  # how tables write a missing number
            return ""
        value = int(value) if value.is_integer() else value
    return str(value).strip().casefold()
