"""The pipeline: an input goes in, the engine is asked the probes, a verdict comes out.

The moderator knows what the probes mean and nothing of HTTP; the policy that turns a verdict into
an action comes after it. A picture that a safety head is sure of never reaches the engine
(`server.cascade`). All questions about one input go to the engine at once, behind the same
image, so that it can batch them and reuse the image's prefix.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from server.cascade import FastPath
from server.concepts.calibration import RAW, Calibration, CalibrationChoice, ModalityCalibration
from server.concepts.probes import YES_NO_OPTIONS, FollowUpProbe, ProbeSet, YesNoProbe, letters
from server.concepts.recognition import Recognition
from server.concepts.risk import Risk
from server.concepts.taxonomy import Taxonomy, load_taxonomy
from server.concepts.verdict import UNREAD, Reading, Verdict, merge, verdict_of
from server.engine.protocol import Answer, Engine, ModelCard, Question
from server.errors import QuestionTooLongError, UnusableAnswerError
from server.ingest.text_pieces import MAX_PIECE_CHARS, OVERLAP_CHARS, cut_text
from server.task_group import task_group

# Serving in bf16 moves a probability by about 0.04 (measured against fp32). Of an answer mass below
# that, rounding alone could turn yes into no: such an answer is none.
MIN_ANSWER_MASS = 0.05

# One long text must not fill the engine's queue before anyone else's question gets in.
MAX_PIECES_AT_ONCE = 8

# Below this, a question that is too long is so for its own words, not for the text put into it.
_MIN_PIECE_CHARS = 50

_VERSION_HASH_CHARS = 12


ScoreSource = Literal["model", "in_flight", "cache", "near_duplicate"]
"""Where scores come from: asked for now, for someone else at the same time, or before; or they are
those of a picture that looks alike."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the wall-clock time it took the model, queueing included.

    `distance` is how far away the picture is whose scores these are, in bits of 256 (PDQ); None
    unless they come from a near duplicate.
    """

    verdict: Verdict
    engine_ms: float
    source: ScoreSource = "model"
    distance: int | None = None


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is asked about: a picture, or words standing in for one."""

    image: Image.Image | None
    text: str = ""

    def judged_by(self, probe: YesNoProbe) -> Question:
        words = probe.question if self.image is not None else probe.about_text(self.text)
        return Question(text=words, options=YES_NO_OPTIONS, image=self.image)

    def lettered(self, probe: FollowUpProbe, options: Sequence[str]) -> Question:
        if self.image is not None:
            words = probe.ask(options)
        else:
            words = probe.ask_about_text(self.text, options)
        return Question(text=words, options=letters(len(options)), image=self.image)


class Moderator:
    """Judges images and texts with one engine and one probe set.

    `active` are the ids of the yes/no probes asked about every input, by default those that the
    probe set names; `p_unsafe` is the mean over them. `calibration` turns raw scores into the
    verdict's; "own" is the one on the engine's card, where there is one. `fast_path` is asked about
    every picture first. Raises `UnknownProbeError` for an id that the set does not have,
    `CalibrationMismatchError` for a calibration of other questions, `ValueError` for no id, a
    repeated one or a mass outside [0, 1].
    """

    def __init__(
        self,
        engine: Engine,
        probes: ProbeSet,
        *,
        active: Sequence[str] | None = None,
        min_answer_mass: float = MIN_ANSWER_MASS,
        taxonomy: Taxonomy | None = None,
        calibration: CalibrationChoice = "own",
        fast_path: FastPath | None = None,
    ) -> None:
        ids = probes.active if active is None else tuple(active)
        if not ids or len(set(ids)) < len(ids):
            raise ValueError(f"active must name at least one probe and none twice, got {ids}")
        if not 0.0 <= min_answer_mass <= 1.0:
            raise ValueError(f"min_answer_mass must be in [0, 1], got {min_answer_mass}")
        self._engine = engine
        self._probes = probes
        self._active = tuple(probes.judgement(probe_id) for probe_id in ids)
        self._min_answer_mass = min_answer_mass
        self._taxonomy = load_taxonomy() if taxonomy is None else taxonomy
        self.fast_path = fast_path
        # Hashed once: every answer names it.
        self._questions_version = (
            f"probes-{probes.version}.{','.join(ids)}+taxonomy-{self._taxonomy.version}"
        )
        self._calibration = chosen_calibration(calibration, engine.card)
        self.calibration_version = None if self._calibration is None else self._calibration.version
        """The version of what calibrates the scores; None where they are raw."""
        if self._calibration is not None:
            self._calibration.require_fit(
                probes_version=probes.version,
                active=ids,
                taxonomy_version=self._taxonomy.version,
            )

    @property
    def model_version(self) -> str:
        """Names everything that a verdict depends on; valid once the engine has started.

        ``{model}@{checkpoint hash}+probes-{version}.{active ids}+taxonomy-{version}``, and
        ``+calibration-{version}`` where scores are calibrated, ``+fast-{head}.{bounds}`` where a
        safety head may judge alone.
        """
        card = self._engine.card
        calibrated = self.calibration_version or ""
        return (
            f"{card.id}@{card.version[:_VERSION_HASH_CHARS]}+{self._questions_version}"
            + (calibrated and f"+calibration-{calibrated}")
            + ("" if self.fast_path is None else f"+{self.fast_path.version}")
        )

    async def judge_image(self, image: Image.Image) -> Judgement:
        """The verdict on an RGB image. Raises `EngineError` when the engine can't be asked."""
        started = time.perf_counter()
        verdict = None if self.fast_path is None else await self.fast_path.judge(image)
        if verdict is None:
            verdict = await self._judge(_Subject(image))
        return Judgement(verdict, engine_ms=_ms_since(started))

    async def judge_text(self, text: str) -> Judgement:
        """The verdict on a text, asked about as if an image showed it.

        A long text is cut into pieces and the most unsafe one speaks for each score; a text with no
        words is undetermined. Raises `EngineError` when the engine can't be asked.
        """
        started = time.perf_counter()
        verdict = await self._judge_pieces(cut_text(text))
        return Judgement(verdict, engine_ms=_ms_since(started))

    async def answer_to(self, probe: YesNoProbe, content: Image.Image | str) -> float | None:
        """One more question about a picture or a short text, which has no say in its verdict.

        P(unsafe answer); None where too little of it is an answer. Raises
        `EngineError`, `QuestionTooLongError` for a text that has to be cut among them.
        """
        subject = _Subject(None, content) if isinstance(content, str) else _Subject(content)
        reading = _reading(probe, await self._ask(subject.judged_by(probe)))
        is_answer = reading.answer_mass >= self._min_answer_mass
        return reading.p_unsafe if is_answer else None

    async def _judge_pieces(self, pieces: Sequence[str]) -> Verdict:
        if not pieces:
            return UNREAD
        turns = asyncio.Semaphore(MAX_PIECES_AT_ONCE)

        async def in_turn(piece: str) -> Verdict:
            async with turns:
                return await self._judge_piece(piece)

        async with task_group() as group:
            tasks = [group.create_task(in_turn(piece)) for piece in pieces]
        return merge(task.result() for task in tasks)

    async def _judge_piece(self, piece: str) -> Verdict:
        """Judge a piece; one with more tokens than the model takes is halved until it fits."""
        try:
            return await self._judge(_Subject(image=None, text=piece))
        except QuestionTooLongError:
            # Halving must shrink the piece, or it would be asked about for ever.
            max_chars = len(piece) // 2
            if max_chars < _MIN_PIECE_CHARS:
                raise
        overlap_chars = max_chars * OVERLAP_CHARS // MAX_PIECE_CHARS
        halves = cut_text(piece, max_chars=max_chars, overlap_chars=overlap_chars)
        return merge([await self._judge_piece(half) for half in halves])

    async def _judge(self, subject: _Subject) -> Verdict:
        async with task_group() as group:
            asked = [
                group.create_task(self._ask(subject.judged_by(probe))) for probe in self._active
            ]
            # Recognition rows come with every answer; only models without them are asked more.
            follow_ups = (
                None
                if self._engine.card.has_recognition
                else group.create_task(self._recognise_by_letters(subject))
            )
        answers = [task.result() for task in asked]
        return verdict_of(
            [_reading(probe, answer) for probe, answer in zip(self._active, answers, strict=True)],
            _first_recognition(answers) if follow_ups is None else follow_ups.result(),
            min_answer_mass=self._min_answer_mass,
            calibration=self._calibration_for(subject),
            risk=_first_risk(answers),
        )

    def _calibration_for(self, subject: _Subject) -> ModalityCalibration:
        if self._calibration is None:
            return RAW
        return self._calibration.words if subject.image is None else self._calibration.pictures

    async def _recognise_by_letters(self, subject: _Subject) -> Recognition | None:
        """Ask for the category, then for the concept within the likeliest one.

        None when the model names no category; a recognition without concepts when it names none of
        those.
        """
        names = self._taxonomy.category_names
        categories = await self._choose(subject, self._probes.category, names)
        if categories is None:
            return None
        # The likeliest even if "none" is likelier still: the judgement may yet say "unsafe".
        likeliest = max(names, key=lambda name: categories.shares[name])
        concept_names = self._taxonomy.concepts_of(likeliest)
        concepts = await self._choose(subject, self._probes.concept, concept_names)
        if concepts is None:
            return Recognition(categories.shares, categories.none)
        return Recognition(categories.shares, categories.none, concepts.shares, concepts.none)

    async def _choose(
        self, subject: _Subject, probe: FollowUpProbe, names: Sequence[str]
    ) -> "_Choice | None":
        """The model's choice among `names` and "none"; None when it answered with no letter."""
        options = probe.options(names)
        answer = await self._ask(subject.lettered(probe, options))
        if answer is None:
            return None
        masses = [answer.option_mass.get(letter, 0.0) for letter in letters(len(options))]
        if not all(math.isfinite(mass) and mass >= 0.0 for mass in masses):
            return None
        total = math.fsum(masses)
        if total <= 0.0 or total < self._min_answer_mass:
            return None
        shares = [mass / total for mass in masses]
        return _Choice(shares=dict(zip(names, shares, strict=False)), none=shares[-1])

    async def _ask(self, question: Question) -> Answer | None:
        """The engine's answer; None when it answered with nothing that can be read."""
        try:
            return await self._engine.ask(question)
        except UnusableAnswerError:
            return None


def chosen_calibration(choice: CalibrationChoice, card: ModelCard) -> Calibration | None:
    """What makes probabilities of a model's scores; None: they stay raw."""
    if choice == "own":
        return card.calibration
    return None if choice == "none" else choice


@dataclass(frozen=True, slots=True)
class _Choice:
    """How the model's lettered answer is shared among the options."""

    shares: Mapping[str, float]
    none: float


def _reading(probe: YesNoProbe, answer: Answer | None) -> Reading:
    if answer is None:
        return Reading(unsafe_mass=0.0, safe_mass=0.0)
    return Reading(
        unsafe_mass=answer.option_mass.get(probe.unsafe_answer, 0.0),
        safe_mass=answer.option_mass.get(probe.safe_answer, 0.0),
    )


def _first_recognition(answers: Sequence[Answer | None]) -> Recognition | None:
    """The first usable one: the probes differ in the question, hardly in what the model sees."""
    for answer in answers:
        if answer is not None and answer.recognition is not None and answer.recognition.is_usable:
            return answer.recognition
    return None


def _first_risk(answers: Sequence[Answer | None]) -> Risk | None:
    """The first usable one, as with recognition."""
    for answer in answers:
        if answer is not None and answer.risk is not None and answer.risk.is_usable:
            return answer.risk
    return None


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000.0
