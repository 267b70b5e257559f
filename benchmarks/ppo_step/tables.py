"""The table of a `ppo-step` record."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from benchmarks.ppo_step.contenders import PARTS
from benchmarks.tables import spread

_NOTES = {
    "encode": "tokens and pixels; ours: the tower, once",
    "sample": "each its own answers",
    "score": "policy, reference, value",
    "reward": "the same code",
    "learn": "epochs of minibatches",
}


def ppo_step_tables(record: Mapping[str, Any]) -> list[Table]:
    """Parts, the whole step and memory, side by side."""
    figures, config = record["figures"], record["config"]
    ours, other = figures["ours"], figures["three_models"]
    title = (
        f"a PPO step of {record['model_version']}, {config['dtype']} on {config['device']}, "
        f"median (lowest - highest) of {len(record['measurements'])} rounds"
    )
    table = Table(title=title, title_justify="left")
    for column in ("", "alignment", "three models", "times faster"):
        table.add_column(column)
    for part in PARTS:
        table.add_row(
            f"{part}, s ({_NOTES[part]})",
            spread(ours["seconds"][part]),
            spread(other["seconds"][part]),
            spread(figures["times_faster"][part]),
        )
    table.add_section()
    table.add_row(
        "step, s",
        spread(ours["step_s"]),
        spread(other["step_s"]),
        spread(figures["step_times_faster"]),
    )
    if figures["cached"] is not None:
        table.add_row(
            "step on cached features, s",
            spread(figures["cached"]["step_s"]),
            "",
            spread(figures["cached"]["step_times_faster"]),
        )
    table.add_section()
    for label, key in (("weights, GiB", "weights_gib"), ("optimiser, GiB", "optimizer_gib")):
        table.add_row(label, f"{ours[key]:.2f}", f"{other[key]:.2f}", "")
    if ours["peak_gib"] is not None and other["peak_gib"] is not None:
        table.add_row(
            "at most beyond these, GiB", spread(ours["peak_gib"]), spread(other["peak_gib"]), ""
        )
    table.caption = (
        "largest difference between both's log-probabilities of the same tokens: "
        f"{figures['logprob_difference']:.3g} nats"
    )
    return [table]
