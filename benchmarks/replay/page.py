"""A replay's report: one HTML page and its plots as files, drawn from the record alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import MeasurementError
from benchmarks.replay.page_tables import (
    accuracy_table,
    category_table,
    code_table,
    concept_table,
    latency_table,
    speed_table,
    words_table,
)
from benchmarks.replay.record import ReplayRecord, read_replay
from benchmarks.replay.tables import remarks
from benchmarks.report.sections import Section
from benchmarks.report.style import Plot
from benchmarks.report.wording import clipped, plural


@dataclass(frozen=True, slots=True)
class ReplayFiles:
    """What was written."""

    page: Path
    plots: tuple[Path, ...]


def write_replay_report(record_path: Path, out: Path) -> ReplayFiles:
    """Draw the record's report into the folder `out`; earlier files there are replaced.

    Raises `MeasurementError` for a file that is no such record, and where nothing can be written.
    """
    record = read_replay(record_path)
    from benchmarks.replay.plots import draw_plots
    from benchmarks.report.style import drawing_style, png

    plots = draw_plots(record)
    page = render_replay(record, plots)
    drawn = [plot for part in plots.values() for plot in part]
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = ReplayFiles(out / "report.html", tuple(out / f"{plot.name}.png" for plot in drawn))
        files.page.write_text(page, encoding="utf-8")
        with drawing_style():
            for path, plot in zip(files.plots, drawn, strict=True):
                path.write_bytes(png(plot.figure))
    except OSError as error:
        raise MeasurementError(f"{out} can't be written to: {error.strerror}") from error
    return files


def render_replay(record: ReplayRecord, plots: Mapping[str, Sequence[Plot]]) -> str:
    """The whole page."""
    from benchmarks.report.frame import render

    told = remarks(record.model_dump())
    return render(
        "replay.html.j2",
        skip_to="overview",
        title=f"Replay: {clipped(record.model_version.partition('+')[0], 60)}",
        lead=_lead(record),
        origin=_origin(record),
        sections=_sections(record, plots),
        remarks=[told] if told else [],
        facts=_facts(record),
        config=json.dumps(record.config, indent=2, ensure_ascii=False),
    )


def _sections(record: ReplayRecord, plots: Mapping[str, Sequence[Plot]]) -> list[Section]:
    accuracy, latency = record.figures["accuracy"], record.figures["latency"]
    is_open = not str(record.config["loop"]).startswith("closed")
    sections = [
        Section(
            "overview",
            "At a glance",
            "Judgement and speed of the same requests. In parentheses: 95% intervals, with all "
            "passes over a picture and its near-duplicates drawn together. Beside every time "
            "stands what the client itself takes on an endpoint that does nothing.",
            tables=(accuracy_table(accuracy), speed_table(record)),
        ),
        Section(
            "judgement",
            "Judgement: are unsafe pictures found, and safe ones spared?",
            "Both curves show what any threshold on P(unsafe) would reach.",
            plots=tuple(plots.get("judgement", ())),
        ),
        Section(
            "probabilities",
            "P(unsafe): can it be taken at its word?",
            "A calibrated one says 0.8 where eight in ten are unsafe.",
            plots=tuple(plots.get("probabilities", ())),
        ),
        Section(
            "categories",
            "Categories and concepts",
            "Unsafe pictures only. The AUC against safe pictures is that of P(unsafe); the AUC of "
            "a category's own score is against all other pictures, unsafe ones too.",
            plots=tuple(plots.get("categories", ())),
            tables=(category_table(accuracy),),
            folded=(concept_table(accuracy),),
        ),
        Section(
            "latency",
            "Latency: how long did it take, and when?",
            f"{record.config['loop'].capitalize()}. Refused: to be tried again, and said so; "
            "cancelled: not answered in time; error: all else. In an open loop a request is sent "
            "when it is due, however the service is doing, and its latency counts from then: a "
            "service that stalls is not spared those who came meanwhile.",
            plots=tuple(plots.get("latency", ())),
            tables=(latency_table(latency, record.figures["client"], is_open=is_open),),
            folded=(code_table(latency),) if latency["codes"] else (),
        ),
    ]
    words = record.figures["words"]
    if words is not None:
        sections.append(
            Section(
                "words",
                "Words: is what they name judged like pictures of it?",
                "The same examples by their words, each asked once. The gap is words minus "
                "pictures, of the first pass; here an example without an answer counts as wrong.",
                tables=(words_table(words),),
            )
        )
    return [section for section in sections if section]


def _lead(record: ReplayRecord) -> str:
    latency = record.figures["latency"]
    return (
        f"{plural(latency['requests'], 'request')} about {plural(record.data.examples, 'picture')} "
        f"of {record.data.name} ({record.data.split}) in {latency['seconds']:.1f} seconds: "
        f"{record.config['loop']}; pixels: {record.config['pixels']}."
    )


def _origin(record: ReplayRecord) -> str:
    return (
        f"Measured {record.created} from commit {(record.commit or 'unknown')[:12]} on "
        f"{record.hardware.get('processor') or 'an unknown processor'}, "
        f"{record.hardware.get('usable_cores') or 'unknown'} usable cores, "
        "where the client ran."
    )


def _facts(record: ReplayRecord) -> list[tuple[str, str]]:
    accelerators = record.hardware.get("accelerators") or ["none"]
    return [
        ("model version", record.model_version),
        ("endpoint", str(record.config["url"])),
        ("contract", str(record.config["contract"])),
        ("loop", str(record.config["loop"])),
        ("pixels", str(record.config["pixels"])),
        ("data", f"{record.data.name}, {record.data.split}, {record.data.examples} examples"),
        ("data sha256", record.data.sha256),
        ("date", record.created),
        ("commit", record.commit or "unknown"),
        ("processor of the client", str(record.hardware.get("processor") or "unknown")),
        ("usable cores", str(record.hardware.get("usable_cores") or "unknown")),
        ("accelerators", ", ".join(str(one) for one in accelerators)),
        ("packages", ", ".join(f"{name} {found}" for name, found in record.packages.items())),
    ]
