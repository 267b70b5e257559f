"""Who drew the open set's pictures, under which licence, and how ATTRIBUTION.md says so.

The facts in open_set_credits.json were read from each icon package's own metadata and from the
licence files of the projects they pack. Creative Commons Attribution asks for the author, the
licence, a link and a statement of changes; MIT and Apache-2.0 ask that their notices go along.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from server.concepts.data_file import FrozenRecord, VersionedRecord, read_data_file

CREDITS_FILE = Path(__file__).with_name("open_set_credits.json")

_HEADING = """\
# Attribution

Every picture in `images/` was drawn by someone else and is here under the licence that its author \
gave it. `manifest.jsonl` names package, icon, author and licence picture by picture; this page \
names the collections.

**Changes made to all of them**: each vector drawing was rasterised to WebP, {smallest_px} to \
{largest_px} pixels a side (`width` and `height` in the manifest), scaled and placed on a square \
of one plain colour. Icons of one colour were given a colour; nothing else was redrawn. Whoever \
made or packed them has not endorsed this product.
"""

_MIT_TERMS = """\
## The terms of MIT

The copyright notices above belong to this text.

> Permission is hereby granted, free of charge, to any person obtaining a copy of this software \
and associated documentation files (the "Software"), to deal in the Software without restriction, \
including without limitation the rights to use, copy, modify, merge, publish, distribute, \
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is \
furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or \
substantial portions of the Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING \
BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND \
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, \
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT \
OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

## The terms of Apache-2.0

The text of the licence is the product's own `LICENSE`. No `NOTICE` file was found \
with the drawings of any project above.
"""

Text = Annotated[str, Field(min_length=1)]
Link = Annotated[str, Field(pattern=r"^https?://\S+$")]


class Collection(FrozenRecord):
    """One icon package in one version.

    `author` is the project's or company's name as the package states it; `artists` names each
    icon's own author where the collection does. `notice` is the copyright notice that has to go
    along, `remark` what a reader should know besides.
    """

    package: Text
    version: Text
    title: Text
    author: Text
    link: Link
    license: Literal["Apache-2.0", "CC-BY-3.0", "CC-BY-4.0", "MIT"]
    license_link: Link
    notice: str
    remark: str
    artists: dict[str, Text]

    def author_of(self, icon: str) -> str | None:
        """Who drew the icon; None where the collection names artists and not this icon's."""
        return self.artists.get(icon) if self.artists else self.author


class Credits(VersionedRecord):
    """All collections that the open set may draw from."""

    collections: tuple[Collection, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _packages_are_unique(self) -> Self:
        names = [collection.package for collection in self.collections]
        if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
            raise ValueError(f"package named more than once: {', '.join(repeated)}")
        return self

    def of(self, package: str, version: str) -> Collection | None:
        """The package's credit; None for an unknown package or another version of it."""
        for collection in self.collections:
            if (collection.package, collection.version) == (package, version):
                return collection
        return None


@cache
def load_credits() -> Credits:
    """The shipped credits, read once. Raises `DataFileError`."""
    return read_data_file(CREDITS_FILE, Credits)


def attribution(used: Iterable[tuple[Collection, str]], sides_px: Iterable[int]) -> str:
    """ATTRIBUTION.md for a set.

    `used` has the collection and the author of every picture; `sides_px` every side's length.
    """
    sides = sorted(sides_px)
    authors: dict[str, Counter[str]] = {}
    collections: dict[str, Collection] = {}
    for collection, author in used:
        collections[collection.package] = collection
        authors.setdefault(collection.package, Counter())[author] += 1
    parts = [_HEADING.format(smallest_px=sides[0], largest_px=sides[-1])]
    parts += [_section(collections[name], authors[name]) for name in sorted(collections)]
    return "\n".join([*parts, _MIT_TERMS])


def _section(collection: Collection, authors: Counter[str]) -> str:
    count = sum(authors.values())
    lines = [
        f"## {collection.title}",
        "",
        f"- {count} picture{'' if count == 1 else 's'} from the package "
        f"`{collection.package}` {collection.version}",
        f"- author: {collection.author}, <{collection.link}>",
        f"- licence: [{collection.license}]({collection.license_link})",
    ]
    if collection.notice:
        lines.append(f"- notice: {collection.notice}")
    if collection.artists:
        ranked = sorted(authors.items(), key=lambda pair: (-pair[1], pair[0]))
        lines.append(f"- icons made by {', '.join(f'{name} ({n})' for name, n in ranked)}")
    if collection.remark:
        lines.append(f"- {collection.remark}")
    return "\n".join(lines) + "\n"
