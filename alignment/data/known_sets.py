"""The data sets whose columns need not be named, by their hub id and by their columns.

Layouts as their owners publish them: UnsafeConcepts and the safe ImageNet set of [S1], its two
out-of-domain sets SMID and NSFW, and UnsafeBench (arXiv 2405.03486). S1's repository holds the
first two in a form of its own, which `repository_layout` reads.
"""

from dataclasses import dataclass, replace

from alignment.data.columns import ColumnMap


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A published data set.

    `signature` are the columns that tell it from others where only a folder is given; empty where
    they would fit too many sets.
    """

    repo_id: str
    columns: ColumnMap
    signature: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The id without its owner."""
        return self.repo_id.partition("/")[2]

    def columns_in(self, found: frozenset[str]) -> ColumnMap:
        """The columns to read; captions came to some of these sets only later."""
        columns = self.columns
        return columns if columns.caption in found else replace(columns, caption="")


UNSAFE_CONCEPTS = KnownSet(
    "yiting/UnsafeConcepts",
    ColumnMap(all_are="unsafe", concept="unsafe_concept", category="category"),
    frozenset({"image", "category", "unsafe_concept"}),
)
SAFE_IMAGENET = KnownSet(
    "yiting/imagenet_1k_unique_class",
    ColumnMap(all_are="safe", concept="concept"),
    frozenset({"image", "concept"}),
)
UNSAFE_BENCH = KnownSet(
    "yiting/UnsafeBench",
    ColumnMap(
        label="safety_label",
        unsafe=("Unsafe",),
        safe=("Safe",),
        category="category",
        caption="text",
    ),
    frozenset({"image", "safety_label", "category", "source"}),
)
# Both hold base64 text; label 1 is unsafe, as in S1's own evaluation.
SMID = KnownSet("yiting/SMID", ColumnMap(label="label", unsafe=("1",), safe=("0",)))
NSFW = KnownSet("yiting/NSFWDataset", ColumnMap(label="label", unsafe=("1",), safe=("0",)))

KNOWN_SETS = (UNSAFE_CONCEPTS, SAFE_IMAGENET, UNSAFE_BENCH, SMID, NSFW)

# What a published set may carry beside its signature without becoming another set.
_HARMLESS_EXTRAS = frozenset({"id", "index", "text"})


def known_by_id(repo_id: str) -> KnownSet | None:
    """The known set of that id, whatever the id's case."""
    wanted = repo_id.casefold()
    return next((one for one in KNOWN_SETS if one.repo_id.casefold() == wanted), None)


def known_by_columns(columns: frozenset[str]) -> KnownSet | None:
    """The known set that has exactly these columns, an id or a text aside."""
    return next(
        (
            one
            for one in KNOWN_SETS
            if one.signature and columns - _HARMLESS_EXTRAS == one.signature - _HARMLESS_EXTRAS
        ),
        None,
    )
