"""What an icon's name says about it: which concept it shows, or that it is an ordinary thing.

icon_names.json is a list written and looked through by hand: every unsafe name's drawings were
looked at in every package, and what shows something else stands under `wrong`. A name in neither
part labels nothing, so that spears, campfires and coins, about which people differ, teach nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from server.concepts.data_file import FrozenRecord, VersionedRecord, read_data_file
from server.concepts.taxonomy import load_taxonomy

ICON_NAMES_FILE = Path(__file__).with_name("icon_names.json")

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Prefix = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Proxy = Literal["direct", "object", "weak"]

# How a drawing is drawn, not what it shows; and which of several drawings of one thing it is.
_MANNERS = frozenset(
    [
        "alt",
        "bold",
        "broken",
        "color",
        "duo",
        "duotone",
        "fill",
        "filled",
        "flat",
        "light",
        "line",
        "linear",
        "negative",
        "one",
        "outline",
        "outlined",
        "regular",
        "remix",
        "rounded",
        "sharp",
        "solid",
        "thin",
        "two",
        "three",
        "four",
        "variant",
    ]
)
_COUNTER = re.compile(r"\d+(px)?")
_WORD = re.compile(r"[a-z]+|[0-9]+")


@dataclass(frozen=True, slots=True)
class IconLabel:
    """What an icon shows: `name` in plain words' place, and its concept unless it is safe."""

    name: str
    concept: str | None
    proxy: str

    @property
    def unsafe(self) -> bool:
        """Whether it shows one of the taxonomy's concepts."""
        return self.concept is not None


class IconSource(FrozenRecord):
    """A package that is drawn from.

    `style` is what its pictures are called, `safe` which list of ordinary things was written for
    it. `literal` names say all there is to say: nothing in them is a manner of drawing.
    """

    prefix: Prefix
    style: Literal["icon", "emoji"]
    safe: str
    literal: bool = False


class IconNames(VersionedRecord):
    """The list: packages, unsafe names by concept and proxy, safe ones by kind, and exceptions."""

    packages: tuple[IconSource, ...]
    unsafe: dict[str, dict[Proxy, tuple[Name, ...]]]
    safe: dict[str, tuple[Name, ...]]
    wrong: dict[Prefix, tuple[str, ...]]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if unknown := self.unsafe.keys() - load_taxonomy().concept_names:
            raise ValueError(f"no such concept: {', '.join(sorted(unknown))}")
        seen: dict[str, str] = {}
        for concept, _, name in self._unsafe_names():
            if seen.setdefault(name, concept) != concept:
                raise ValueError(f"{name!r} is of {seen[name]!r} and of {concept!r}")
        if both := seen.keys() & {name for names in self.safe.values() for name in names}:
            raise ValueError(f"both safe and unsafe: {', '.join(sorted(both))}")
        if lost := {package.safe for package in self.packages} - self.safe.keys():
            raise ValueError(f"no such list of safe names: {', '.join(sorted(lost))}")
        return self

    def _unsafe_names(self) -> Iterator[tuple[str, Proxy, str]]:
        for concept, by_proxy in self.unsafe.items():
            for proxy, names in by_proxy.items():
                yield from ((concept, proxy, name) for name in names)

    def labels(self, package: IconSource, slugs: Iterable[str]) -> Mapping[str, IconLabel]:
        """Each labelled slug of the package; of several drawings of one thing only the plainest.

        The plainest is the one with the shortest slug, then the first by alphabet.
        """
        unsafe = {name: (concept, proxy) for concept, proxy, name in self._unsafe_names()}
        safe = frozenset(self.safe[package.safe])
        wrong = self.wrong.get(package.prefix, ())
        found: dict[str, IconLabel] = {}
        named: set[str] = set()
        for slug in sorted(slugs, key=lambda one: (len(one), one)):
            name = slug if package.literal else plain_name(slug)
            if slug in wrong or name in named:
                continue
            if name in unsafe:
                found[slug] = IconLabel(name, *unsafe[name])
            elif name in safe:
                found[slug] = IconLabel(name, None, "safe")
            else:
                continue
            named.add(name)
        return found


@cache
def load_icon_names() -> IconNames:
    """The shipped list, read once. Raises `DataFileError`."""
    return read_data_file(ICON_NAMES_FILE, IconNames)


def plain_name(slug: str) -> str:
    """The slug without the words and numbers that tell how, and not what, is drawn."""
    kept = [
        word
        for word in slug.lower().split("-")
        if word not in _MANNERS and not _COUNTER.fullmatch(word)
    ]
    return "-".join(kept)


def words_of(slug: str) -> frozenset[str]:
    """The slug's words in the singular, in no order: what two packages' names are compared by."""
    return frozenset(_singular(word) for word in _WORD.findall(slug.lower()))


def caption_of(style: str, name: str) -> str:
    """As captions of drawings are elsewhere: "an icon of a time bomb"."""
    words = name.replace("-", " ")
    if _singular(words) != words:
        return f"an {style} of {words}"
    return f"an {style} of {'an' if words[0] in 'aeiou' else 'a'} {words}"


def _singular(word: str) -> str:
    plural = len(word) > 3 and word.endswith("s") and not word.endswith("ss")
    return word[:-1] if plural else word
