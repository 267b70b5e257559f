"""From record files to a report's files: page, tables and plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import MeasurementError
from benchmarks.report.columns import read_columns
from benchmarks.report.gallery import galleries_of

PAGE_NAME = "report.html"
MARKDOWN_NAME = "report.md"


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What was written; `plots` in the order of the page."""

    page: Path
    markdown: Path
    plots: tuple[Path, ...]


def write_report(
    records: Sequence[Path], out: Path, *, data: Path | None = None, blur: bool = True
) -> ReportFiles:
    """Draw the report of `records`, side by side in their order, into the folder `out`.

    A record is a file or the folder of a run that holds ``record.json``. `data` is the image folder
    that was measured, for thumbnails of the worst pictures; the shipped open set is found without.
    Files of an earlier report in `out` are replaced. The same records give the same bytes.

    Raises `MeasurementError` for a file that is no record, for `data` that is not what was
    measured, and where nothing can be written; `ManifestError` for `data` that can't be read.
    """
    columns = read_columns([_record_file(path) for path in records])
    galleries = galleries_of(columns, data)
    # Matplotlib takes a second to import, which a wrong path should not cost.
    from benchmarks.report.markdown import render_markdown
    from benchmarks.report.page import render_page
    from benchmarks.report.plots import draw_plots
    from benchmarks.report.sections import make_sections
    from benchmarks.report.style import drawing_style, png

    plots = draw_plots(columns)
    page = render_page(columns, make_sections(columns, plots), galleries, blur=blur)
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = ReportFiles(
            out / PAGE_NAME,
            out / MARKDOWN_NAME,
            tuple(out / f"{plot.name}.png" for part in plots.values() for plot in part),
        )
        files.page.write_text(page, encoding="utf-8")
        files.markdown.write_text(
            render_markdown(columns, make_sections(columns)), encoding="utf-8"
        )
        drawn = [plot for part in plots.values() for plot in part]
        with drawing_style():
            for path, plot in zip(files.plots, drawn, strict=True):
                path.write_bytes(png(plot.figure))
    except OSError as error:
        raise MeasurementError(f"{out} can't be written to: {error.strerror}") from error
    return files


def _record_file(path: Path) -> Path:
    from benchmarks.capabilities.run import RECORD_NAME

    return path / RECORD_NAME if path.is_dir() else path
