import io
import re
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from benchmarks.capabilities.schema import CapabilitiesRecord, Confusion
from benchmarks.report.columns import Aspect, label_columns
from benchmarks.report.confusion_plot import MAX_CONCEPTS, confusion_plots
from benchmarks.report.plots import draw_plots
from benchmarks.report.rate_plots import category_plots, no_answer_plots
from benchmarks.report.style import CSS_NAMES, Plot, drawing_style, png, svg

PICTURES = Aspect("alignment", "token", "image")


@pytest.fixture(scope="module")
def plots(record: CapabilitiesRecord, other_record: CapabilitiesRecord) -> dict[str, list[Plot]]:
    return dict(draw_plots(label_columns([record, other_record])))


def texts(plot: Plot) -> list[str]:
    """Everything that is written in a plot."""
    from matplotlib.text import Text

    return [text.get_text() for text in plot.figure.findobj(Text) if isinstance(text, Text)]


def tick_labels(plot: Plot, axis: str) -> list[str]:
    (axes,) = plot.figure.axes
    found = axes.get_yticklabels() if axis == "y" else axes.get_xticklabels()
    return [label.get_text() for label in found]


def test_every_section_is_drawn_under_names_of_their_own(plots: dict[str, list[Plot]]) -> None:
    assert all(plots.values())
    names = [plot.name for part in plots.values() for plot in part]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


def test_every_plot_says_in_words_what_it_shows(plots: dict[str, list[Plot]]) -> None:
    for part in plots.values():
        for plot in part:
            assert len(plot.alt) > 40, plot.name


def test_a_bar_plot_shows_the_records_figures(
    record: CapabilitiesRecord, other_record: CapabilitiesRecord
) -> None:
    columns = label_columns([record, other_record])
    with drawing_style():
        (plot,) = category_plots(PICTURES, columns)

    written = texts(plot)
    for column in columns:
        figures = column.figures(PICTURES)
        assert figures is not None
        assert column.label in written
        for rate in figures.by_category.values():
            assert f"{rate.counted_wrong.value:.3f}" in written
    assert "Violence" in plot.alt


def test_what_was_not_measured_has_no_bar_and_unknown_is_written_out(
    record: CapabilitiesRecord,
) -> None:
    figures = record.figures.suites[0]
    unknown = figures.overall.no_answer_rate.__class__(None, None, None)
    changed = record.model_copy(
        update={
            "figures": record.figures.model_copy(
                update={
                    "suites": (
                        figures.model_copy(
                            update={
                                "overall": figures.overall.model_copy(
                                    update={"no_answer_rate": unknown}
                                )
                            }
                        ),
                    )
                }
            )
        }
    )
    with drawing_style():
        (plot,) = no_answer_plots(label_columns([changed]))

    assert "unknown" in texts(plot)


def test_a_png_is_sharp_and_not_blank(plots: dict[str, list[Plot]]) -> None:
    with drawing_style():
        picture = Image.open(io.BytesIO(png(plots["alignment"][0].figure)))

    assert picture.width >= 1000
    pixels = np.asarray(picture.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    # Nothing is cut off at the edges: they are paper.
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == edge[0]).all()


def test_no_text_is_cut_off_or_runs_into_another(
    make_record: Callable[..., CapabilitiesRecord],
) -> None:
    long = make_record(
        model="a-model-with-quite-a-long-name-as-hubs-have-them",
        concepts=(
            ("Skin-picking or excoriation " * 3, "Public and personal health, " * 3),
            ("Arson", "Illegal activity"),
        ),
        pictures=300,
        safe=300,
        silence=0.4,
        modes=("token",),
    )
    columns = label_columns([long, long])

    for part in draw_plots(columns).values():
        for plot in part:
            renderer = FigureCanvasAgg(plot.figure).get_renderer()
            boxes = [
                (text.get_text(), text.get_window_extent(renderer))
                for text in [*plot.figure.texts, *(t for a in plot.figure.axes for t in a.texts)]
            ]
            width, height = plot.figure.get_size_inches() * plot.figure.dpi
            for index, (text, box) in enumerate(boxes):
                where = (plot.name, text)
                assert box.x0 >= -1, where
                assert box.x1 <= width + 1, where
                assert box.y0 >= -1, where
                assert box.y1 <= height + 1, where
                for other_text, other in boxes[index + 1 :]:
                    assert not box.shrunk(0.98, 0.7).overlaps(other), (*where, other_text)


def test_svg_follows_the_pages_colours_and_has_no_size_of_its_own(
    plots: dict[str, list[Plot]],
) -> None:
    with drawing_style():
        drawn = svg(plots["gap"][0])

    assert not [colour for colour in CSS_NAMES if colour in drawn]
    assert "var(--series-1)" in drawn
    assert "DejaVu" not in drawn
    opening = drawn[: drawn.index(">")]
    assert not re.search(r'\s(width|height)="', opening)
    ids = re.findall(r'\bid="([^"]+)"', drawn)
    assert ids
    assert all(one.startswith(plots["gap"][0].name) for one in ids)
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', drawn)) <= set(ids)


@pytest.mark.parametrize(
    "name", ["$x_{1$", "<script>alert(1)</script>", "\u6f22\u5b57", "a\x00b\nc"]
)
def test_any_name_can_be_drawn(
    name: str, make_record: Callable[..., CapabilitiesRecord], recwarn: pytest.WarningsRecorder
) -> None:
    record = make_record(
        model=name, concepts=((name, name), ("Arson", "Illegal activity")), modes=("token",)
    )
    columns = label_columns([record, record])
    with drawing_style():
        (plot,) = category_plots(PICTURES, columns)
        drawn = svg(plot)
        png(plot.figure)

    assert "<script" not in drawn
    assert "\x00" not in drawn
    assert not recwarn.list


def test_many_concepts_are_cut_to_those_most_often_mixed_up(record: CapabilitiesRecord) -> None:
    many = tuple(
        Confusion(mode="token", shown=f"c{index}", taken_for=f"c{index + 1}", count=index + 1)
        for index in range(MAX_CONCEPTS + 20)
    )
    figures = record.figures.model_copy(update={"confusions": many})
    with drawing_style():
        (plot,) = confusion_plots(label_columns([record.model_copy(update={"figures": figures})]))

    rows = tick_labels(plot, "y")
    heads = tick_labels(plot, "x")
    assert len(rows) == MAX_CONCEPTS
    assert (heads[0], len(heads)) == ("right", 1 + MAX_CONCEPTS)
    assert f"c{MAX_CONCEPTS + 19}" in rows
    assert "c0" not in rows


def test_only_mistaken_concepts_have_a_row_and_what_they_are_taken_for_a_column(
    record: CapabilitiesRecord,
) -> None:
    found = tuple(
        Confusion(mode="token", shown=shown, taken_for=taken_for, count=count)
        for shown, taken_for, count in (
            ("Arson", "Arson", 3),
            ("Arson", "Torture", 1),
            ("Swastika", "Swastika", 9),
        )
    )
    figures = record.figures.model_copy(update={"confusions": found})
    with drawing_style():
        (plot,) = confusion_plots(label_columns([record.model_copy(update={"figures": figures})]))

    assert tick_labels(plot, "y") == ["Arson"]
    assert tick_labels(plot, "x") == ["right", "Torture"]
    assert {"3", "1", "n 4"} <= set(texts(plot))
    assert "9" not in texts(plot)


def test_every_row_of_the_confusions_adds_up(record: CapabilitiesRecord) -> None:
    taken_for = [(f"c{index}", 1) for index in range(MAX_CONCEPTS + 4)]
    found = tuple(
        Confusion(mode="token", shown="Arson", taken_for=name, count=count)
        for name, count in [("Arson", 7), *taken_for]
    )
    figures = record.figures.model_copy(update={"confusions": found})
    with drawing_style():
        (plot,) = confusion_plots(label_columns([record.model_copy(update={"figures": figures})]))

    heads = tick_labels(plot, "x")
    assert (heads[0], heads[-1]) == ("right", "others")
    assert {"7", "4", f"n {11 + MAX_CONCEPTS}"} <= set(texts(plot))


def test_without_mistakes_there_is_no_confusion_plot(record: CapabilitiesRecord) -> None:
    right = (Confusion(mode="token", shown="Arson", taken_for="Arson", count=3),)
    figures = record.figures.model_copy(update={"confusions": right})

    assert not confusion_plots(label_columns([record.model_copy(update={"figures": figures})]))


def test_drawing_leaves_the_callers_settings_alone(record: CapabilitiesRecord) -> None:
    before = dict(mpl.rcParams)
    with drawing_style():
        assert dict(mpl.rcParams) != before

    assert dict(mpl.rcParams) == before
