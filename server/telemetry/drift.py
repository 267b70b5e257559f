"""Whether what is judged has changed: the population stability index of P(unsafe).

The scores of the latest inputs are held against those of a reference window, the first inputs that
this model judged here. PSI is the sum over ten bins of (now - then) * ln(now / then), in shares. By
the usual rule of thumb below 0.1 is calm, and above 0.25 somebody should look: at what is sent, or
at the model. A reference that is kept in a file outlives restarts; without one each start begins
anew, with whatever comes then.
"""

import json
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

# Finer towards the ends, where nearly all scores lie.
EDGES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
BINS = len(EDGES) + 1
WINDOW = 1_000
"""Inputs in either window: ten bins of a hundred, on which PSI scatters by about 0.02."""

_EMPTY_BIN_COUNT = 0.5
"""What stands for no input in a bin: the logarithm of zero would be infinite."""

_log = structlog.get_logger("server")


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """The index of two histograms with the same bins; 0 for the same shares."""
    then, now = _shares(reference), _shares(current)
    return math.fsum((a - e) * math.log(a / e) for a, e in zip(now, then, strict=True))


def _shares(counts: Sequence[int]) -> list[float]:
    filled = [max(count, _EMPTY_BIN_COUNT) for count in counts]
    total = math.fsum(filled)
    return [count / total for count in filled]


class ScoreDrift:
    """One kind of input's two windows of `window` scores; memory does not grow beyond them."""

    def __init__(self, *, window: int = WINDOW, reference: Sequence[int] | None = None) -> None:
        self._window = window
        self.reference = list(reference or [0] * BINS)
        self._latest: deque[int] = deque(maxlen=window)
        self._current = [0] * BINS

    @property
    def has_reference(self) -> bool:
        """Whether the reference window is full."""
        return sum(self.reference) >= self._window

    def add(self, p_unsafe: float) -> None:
        """Note one score in [0, 1]: in the reference until that is full, then in the latest."""
        place = bisect_right(EDGES, p_unsafe)
        if not self.has_reference:
            self.reference[place] += 1
            return
        if len(self._latest) == self._window:
            self._current[self._latest[0]] -= 1
        self._latest.append(place)
        self._current[place] += 1

    @property
    def index(self) -> float:
        """PSI of the latest against the reference; NaN until both windows are full."""
        if not self.has_reference or len(self._latest) < self._window:
            return math.nan
        return psi(self.reference, self._current)


class DriftWatch:
    """Every kind of input's drift, for one model at a time; the reference lies in `path`, if given.

    A reference of another model's scores is none. A file that can't be read or written is logged.
    """

    def __init__(
        self, kinds: Sequence[str], *, path: Path | None = None, window: int = WINDOW
    ) -> None:
        self._kinds = tuple(kinds)
        self._path = path
        self._window = window
        self._model_version = ""
        self._drifts = {kind: ScoreDrift(window=window) for kind in self._kinds}

    def watch(self, model_version: str) -> None:
        """Watch this model's scores from now on; nothing changes if it is the one watched."""
        if model_version == self._model_version:
            return
        self._model_version = model_version
        known = self._read()
        self._drifts = {
            kind: ScoreDrift(window=self._window, reference=known.get(kind)) for kind in self._kinds
        }

    def add(self, kind: str, p_unsafe: float) -> None:
        """Note one input's score."""
        drift = self._drifts[kind]
        was_full = drift.has_reference
        drift.add(p_unsafe)
        if drift.has_reference and not was_full:
            self._write()

    def index(self, kind: str) -> float:
        """The kind's PSI now; NaN while too little is known."""
        return self._drifts[kind].index

    def _read(self) -> Mapping[str, Sequence[int]]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if (content["model_version"], content["edges"]) != (self._model_version, list(EDGES)):
                return {}
            counts = content["counts"]
            found = {kind: [int(n) for n in counts[kind]] for kind in self._kinds if kind in counts}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("drift reference can't be read", path=str(self._path), error=str(error))
            return {}
        return {
            kind: histogram
            for kind, histogram in found.items()
            if len(histogram) == BINS and min(histogram) >= 0
        }

    def _write(self) -> None:
        if self._path is None:
            return
        full = {kind: one.reference for kind, one in self._drifts.items() if one.has_reference}
        content = {
            "model_version": self._model_version,
            "edges": list(EDGES),
            "counts": full,
        }
        half_written = self._path.with_name(self._path.name + ".part")
        try:
            half_written.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            half_written.replace(self._path)
        except OSError as error:
            _log.warning("drift reference can't be kept", path=str(self._path), error=str(error))
