import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from benchmarks.capabilities.schema import CapabilitiesRecord
from benchmarks.report.columns import Column, label_columns
from benchmarks.report.gallery import WITHOUT_DATA, galleries_of
from benchmarks.report.page import render_page, silences
from benchmarks.report.plots import draw_plots
from benchmarks.report.sections import make_sections

HOSTILE = "<script>alert('answer')</script><img src=http://example.com/x.png onerror=alert(1)>"
VOID = {"meta", "link", "img", "br", "path", "rect", "use"}


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def drawn(columns: tuple[Column, ...], data: Path | None = None, *, blur: bool = True) -> str:
    sections = make_sections(columns, draw_plots(columns))
    return render_page(columns, sections, galleries_of(columns, data), blur=blur)


def undrawn(columns: tuple[Column, ...], data: Path | None = None, *, blur: bool = True) -> str:
    """The page without its plots, which take most of the time."""
    return render_page(columns, make_sections(columns), galleries_of(columns, data), blur=blur)


@pytest.fixture(scope="module")
def html(make_record: Callable[..., CapabilitiesRecord]) -> str:
    """A page of two records whose every text is hostile."""
    hostile = make_record(
        model=HOSTILE,
        version=HOSTILE,
        data=HOSTILE,
        concepts=((f"{HOSTILE}1", HOSTILE), (f"{HOSTILE}2", HOSTILE)),
        silence=0.5,
        written_text=HOSTILE,
    )
    return drawn(label_columns([hostile, make_record(skill=0.5, silence=0.3)]))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_on_the_page_asks_anyone_for_anything(html: str, page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (tag, name, address)
    styles = "".join(re.findall(r"<style.*?</style>", html, re.DOTALL))
    assert "@import" not in styles
    assert not [one for one in re.findall(r"url\(([^)]*)\)", html) if not one.startswith("#")]


def test_the_policy_allows_the_pages_own_script_alone(page: Page) -> None:
    (policy,) = (
        one["content"]
        for one in page.all("meta")
        if one.get("http-equiv", "") is not None
        and one.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    (script,) = page.scripts
    expected = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{expected}';" in policy
    assert "img-src data:;" in policy


def test_hostile_text_is_shown_and_never_run(page: Page) -> None:
    assert "alert('answer')" in page.text
    assert len(page.all("script")) == 1
    assert not [name for _, one in page.tags for name in one if name.startswith("on")]
    assert all((one.get("src") or "").startswith("data:") for one in page.all("img"))


def test_ids_stand_once_and_links_lead_somewhere(page: Page) -> None:
    ids = [one["id"] for _, one in page.tags if "id" in one]
    assert len(ids) == len(set(ids))
    links = [one["href"] for one in page.all("a")]
    assert links
    assert {str(link).removeprefix("#") for link in links} <= set(ids)


def test_plots_and_pictures_have_words_and_table_heads_a_scope(page: Page) -> None:
    plots = [one for one in page.all("div") if one.get("role") == "img"]
    assert len(plots) >= 15
    assert all(one.get("aria-label") for one in plots)
    assert all("alt" in one for one in page.all("img"))
    assert all(one.get("scope") in ("row", "col") for one in page.all("th"))
    # What scrolls can be reached without a mouse.
    scrolling = [one for one in page.all("div") if one.get("class") == "scroll"]
    assert all(one.get("tabindex") == "0" and one.get("aria-label") for one in scrolling)


def test_the_top_says_what_was_measured(record: CapabilitiesRecord) -> None:
    text = Page(undrawn(label_columns([record]))).text
    top = " ".join(text[: text.index("How to read")].split())

    assert "1 vision-language model on 32 examples of refset, split test" in top
    for part in ("lab/small-vlm", "0123456789ab", "transformers", "probes-1-e001cd70"):
        assert part in top
    for part in ("2026-11-21", "f7d37a33b2e6", "AMD EPYC 9R14", "no accelerator"):
        assert part in top
    assert record.data.sha256 in text


def test_records_stand_side_by_side(
    record: CapabilitiesRecord, other_record: CapabilitiesRecord
) -> None:
    page = Page(undrawn(label_columns([record, other_record])))

    assert page.text.count("large-vlm") > 10
    assert "Together." in page.text


def test_without_data_the_page_says_why_there_are_no_pictures(record: CapabilitiesRecord) -> None:
    page = Page(undrawn(label_columns([record])))

    assert not page.all("img")
    assert WITHOUT_DATA in page.text


def test_pictures_are_hidden_until_asked_for(
    matching_record: CapabilitiesRecord, image_folder: Path
) -> None:
    columns = label_columns([matching_record])
    hidden = Page(undrawn(columns, image_folder))
    shots = [one for one in hidden.all("details") if one.get("class") == "shot"]
    assert shots
    assert not [one for one in shots if "open" in one]
    # Each has a preview in what is always shown, and the picture in what is folded away.
    kinds = [one.get("class") for one in hidden.all("img")]
    assert kinds == ["preview", "picture"] * len(shots)
    assert all(one["alt"] for one in hidden.all("img") if one["class"] == "picture")
    assert "blurred until you ask" in hidden.text

    shown = Page(undrawn(columns, image_folder, blur=False))
    assert all("open" in one for one in shown.all("details") if one.get("class") == "shot")
    assert "blurred until you ask" not in shown.text


def test_examples_of_silence_are_few_different_and_cut(
    make_record: Callable[..., CapabilitiesRecord],
) -> None:
    columns = label_columns([make_record(silence=1.0, written_text="word " * 200)])
    (only,) = silences(columns)
    assert len(only.text) == 240

    varied = silences(label_columns([make_record(silence=1.0)]), most=2)
    assert len({one.text for one in varied}) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_in_both_schemes(scheme: str) -> None:
    colours = scheme_colours()[scheme]

    for text in ("ink", "muted", "link"):
        for ground in ("page", "surface"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for number in range(1, 9):
        assert contrast(colours[f"series-{number}"], colours["surface"]) >= 2.2, number


def test_both_schemes_name_every_colour_of_the_plots() -> None:
    from benchmarks.report.style import CSS_NAMES

    for colours in scheme_colours().values():
        assert set(CSS_NAMES.values()) <= colours.keys()


def scheme_colours() -> dict[str, dict[str, str]]:
    css = files("benchmarks.report").joinpath("page.css").read_text(encoding="utf-8")
    light, dark = css.split("@media (prefers-color-scheme: dark)", maxsplit=1)
    found = {}
    for scheme, part in (("light", light), ("dark", dark[: dark.index("\n}")])):
        found[scheme] = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", part))
    return found


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
