"""Several image sets as one, each picture where it lies."""

from dataclasses import replace

from alignment.data.errors import DataError
from alignment.data.manifest import ImageSet


class SameIdError(DataError):
    """Two sets use one id for a picture each."""

    def __init__(self, id_: str, names: tuple[str, str]) -> None:
        super().__init__(f"picture id {id_!r} stands in both {names[0]} and {names[1]}")
        self.id = id_
        self.names = names


def union(first: ImageSet, *others: ImageSet) -> ImageSet:
    """All examples of the sets, with the splits that they have; nothing is copied.

    Groups of near-duplicates stay apart by set. Raises `SameIdError`.
    """
    joined = first
    for other in others:
        known = {example.id for example in joined.examples}
        for example in other.examples:
            if example.id in known:
                raise SameIdError(example.id, (joined.name, other.name))
        marked = [
            example.model_copy(update={"group": f"{other.name}:{example.group}"})
            if example.group
            else example
            for example in other.examples
        ]
        folders = {example.id: other.folder_of(example) for example in other.examples}
        joined = replace(
            joined,
            examples=joined.examples,
            name=f"{joined.name}+{other.name}",
            notes=(*joined.notes, *other.notes),
            image_sha256={**joined.image_sha256, **other.image_sha256},
            folders={**joined.folders, **folders},
        ).with_examples([*joined.examples, *marked])
    return joined
