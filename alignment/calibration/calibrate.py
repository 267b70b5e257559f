"""From a labelled split and a served model to a calibration file.

The test split is never fitted on: a calibration that has seen it would make its figures a lie.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alignment.calibration.answers import (
    RawAnswer,
    WordsFrom,
    ask_about,
    picture_items,
    words_items,
)
from alignment.calibration.errors import CalibrationDataError
from alignment.calibration.groups import (
    FitSettings,
    GroupFit,
    fit_judgement_group,
    fit_names_group,
)
from alignment.data.manifest import ImageSet
from alignment.data.validation import with_validation
from server.concepts.calibration import (
    RAW,
    Calibration,
    FastPathCalibration,
    Fitted,
    FittedGroup,
    JudgementCalibration,
    ModalityCalibration,
    NamesCalibration,
)
from server.concepts.probes import ProbeSet
from server.concepts.taxonomy import load_taxonomy
from server.engine.protocol import Engine
from server.moderator import Moderator

REVISION = "1"


@dataclass(frozen=True, slots=True)
class Asked:
    """The model's raw answers, and which model gave them.

    `head_share` is how much of the pictures' scores is the safety head's word.
    """

    pictures: list[RawAnswer]
    words: list[RawAnswer]
    model_version: str
    head_share: float = 0.0

    def pooled(self, head_share: float) -> "Asked":
        """The same answers with the head's share in those about pictures."""
        pictures = [answer.pooled(head_share) for answer in self.pictures]
        return replace(self, pictures=pictures, head_share=head_share)


@dataclass(frozen=True, slots=True)
class ModalityFit:
    """The fits of one kind of input; None where the model recognises nothing.

    `head_share` is the safety head's in the answers that were fitted on.
    """

    judgement: GroupFit[JudgementCalibration]
    categories: GroupFit[NamesCalibration] | None
    concepts: GroupFit[NamesCalibration] | None
    head_share: float = 0.0

    @property
    def groups(self) -> "tuple[GroupFit[JudgementCalibration] | GroupFit[NamesCalibration], ...]":
        """All that were fitted."""
        found = (self.judgement, self.categories, self.concepts)
        return tuple(one for one in found if one is not None)

    @property
    def values(self) -> ModalityCalibration:
        """What the server applies."""
        return ModalityCalibration(
            head_share=self.head_share,
            judgement=self.judgement.values,
            categories=self.categories.values if self.categories else NamesCalibration(),
            concepts=self.concepts.values if self.concepts else NamesCalibration(),
        )


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """The fits of pictures and of words; None where no words were asked about."""

    pictures: ModalityFit
    words: ModalityFit | None


def fitting_split(images: ImageSet, split: str) -> ImageSet:
    """The set with nothing but the split that is fitted on.

    "validation" is cut from the train split where the set has none. Raises `CalibrationDataError`
    for the test split and for one without examples.
    """
    if split == "test":
        raise CalibrationDataError("the test split is there to measure on, not to fit on")
    chosen = (with_validation(images) if split == "validation" else images).split(split)
    if not chosen:
        raise CalibrationDataError(f"the split {split!r} has no examples")
    return images.with_examples(chosen)


async def ask_model(
    engine: Engine,
    probes: ProbeSet,
    images: ImageSet,
    *,
    words: WordsFrom,
    on_planned: Callable[[int], None],
    on_answer: Callable[[], None],
) -> Asked:
    """Start the engine, ask about every picture and its words, and stop it.

    `on_planned` is told how many answers will come. Raises `EngineError`.
    """
    of_pictures = picture_items(images.examples)
    of_words = words_items(images.examples, words)
    on_planned(len(of_pictures) + len(of_words))
    await engine.start()
    try:
        moderator = Moderator(engine, probes, calibration="none")
        return Asked(
            pictures=await ask_about(moderator, images, of_pictures, on_answer=on_answer),
            words=await ask_about(moderator, images, of_words, on_answer=on_answer),
            model_version=moderator.model_version,
        )
    finally:
        await engine.stop()


def fit_all(asked: Asked, settings: FitSettings) -> CalibrationFit:
    """Fit every group; raises `CalibrationDataError` where there is too little to fit on."""
    return CalibrationFit(
        pictures=ModalityFit(
            fit_judgement_group("pictures.judgement", asked.pictures, settings),
            fit_names_group("pictures.categories", "categories", asked.pictures, settings),
            fit_names_group("pictures.concepts", "concepts", asked.pictures, settings),
            head_share=asked.head_share,
        ),
        words=None
        if not asked.words
        else ModalityFit(
            fit_judgement_group("words.judgement", asked.words, settings),
            fit_names_group("words.categories", "categories", asked.words, settings),
            fit_names_group("words.concepts", "concepts", asked.words, settings),
        ),
    )


def calibration_file(
    fit: CalibrationFit,
    probes: ProbeSet,
    images: ImageSet,
    split: str,
    settings: FitSettings,
    *,
    fast_path: FastPathCalibration | None = None,
) -> Calibration:
    """The file's content, with what it was fitted on."""
    return Calibration(
        revision=REVISION,
        probes_version=probes.version,
        active=probes.active,
        taxonomy_version=load_taxonomy().version,
        pictures=fit.pictures.values,
        words=RAW if fit.words is None else fit.words.values,
        fast_path=fast_path,
        fitted=Fitted(
            data=images.name,
            data_sha256=images.sha256,
            split=split,
            seed=settings.seed,
            folds=settings.folds,
            groups=tuple(_fitted(group) for group in all_groups(fit)),
        ),
    )


def all_groups(
    fit: CalibrationFit,
) -> Sequence[GroupFit[JudgementCalibration] | GroupFit[NamesCalibration]]:
    """Pictures first, then words."""
    return (*fit.pictures.groups, *(() if fit.words is None else fit.words.groups))


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _fitted(group: GroupFit[JudgementCalibration] | GroupFit[NamesCalibration]) -> FittedGroup:
    return FittedGroup(
        group=group.group,
        examples=group.examples,
        no_answer=group.no_answer,
        ece_before=_rounded(group.before.ece.value or 0.0),
        ece_after=_rounded(group.after.ece.value or 0.0),
        brier_before=_rounded(group.before.brier),
        brier_after=_rounded(group.after.brier),
    )


def _rounded(value: float) -> float:
    return round(value, 5)
