"""What ours has to reach beside its peers. Ratios are taken within a round; medians are held."""

from collections.abc import Sequence

from benchmarks.faults.goals import Goal, at_least, at_most
from benchmarks.peers.figures import Round, over_rounds, ratio, without_client
from benchmarks.peers.line_up import NOTHING

OF_RAW = 0.95
TIMES_WRITTEN = 20.0
OF_PLAIN = 1.3
_RAW = ("raw", "raw-at-once")


def peer_goals(rounds: Sequence[Round], *, cores: int) -> list[Goal]:
    """Every goal; one whose contenders did not run is missed, and its figure unknown."""

    def of_raw(one: Round) -> float | None:
        mine = without_client(one, "ours", NOTHING, cores=cores)
        raw = [one[name].images_per_s for name in _RAW if name in one]
        return mine / max(raw) if mine is not None and raw else None

    def times(name: str, *others: str) -> float | None:
        return over_rounds(rounds, lambda one: ratio(one, name, *others))

    return [
        at_least(
            "ours beside the faster raw LLM.generate, the client's cost taken off",
            over_rounds(rounds, of_raw),
            OF_RAW,
            "x",
        ),
        at_least("ours beside S1's way, own answers", times("ours", "written"), TIMES_WRITTEN, "x"),
        at_least(
            "ours beside S1's way, 100 tokens", times("ours", "written-100"), TIMES_WRITTEN, "x"
        ),
        at_least("ours beside vLLM's own server, one token", times("ours", "stock"), 1.0, "x"),
        at_least("ours beside a JSON verdict", times("ours", "json"), 1.0, "x"),
        at_least("ours beside a question a category", times("ours", "per-category"), 1.0, "x"),
        at_most(
            "categories and concepts, time beside the plain verdict, over HTTP",
            times("ours-plain", "ours"),
            OF_PLAIN,
            "x",
        ),
        at_most(
            "categories and concepts, time beside the plain verdict, raw",
            times("raw-plain", "raw"),
            OF_PLAIN,
            "x",
        ),
    ]
