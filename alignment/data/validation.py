"""The validation split: train pictures held back to tune on, so that the test split stays unseen.

It is cut from the train split by the rule that cuts the test split (`alignment.data.splits`): per
concept, near-duplicates together, the same for the same seed.
"""

from alignment.data.errors import DataError
from alignment.data.manifest import ImageSet
from alignment.data.splits import SEED, assign_splits

VALIDATION_SHARE = 0.12


class NothingToHoldBackError(DataError):
    """A set without a train split, from which a validation split could be cut."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name or 'the data set'} has no train split to cut a validation from")
        self.name = name


def with_validation(
    images: ImageSet, *, share: float = VALIDATION_SHARE, seed: int = SEED
) -> ImageSet:
    """The set with about `share` of its train split renamed "validation".

    A set that has such a split already is returned as it is. Raises `NothingToHoldBackError`.
    """
    if images.split("validation"):
        return images
    train = images.split("train")
    if not train:
        raise NothingToHoldBackError(images.name)
    split_of = assign_splits(train, test_share=share, seed=seed)
    held_back = {id_ for id_, split in split_of.items() if split == "test"}
    return images.with_examples(
        example.model_copy(update={"split": "validation"}) if example.id in held_back else example
        for example in images.examples
    )
