"""The command line's map of columns: what it says, and how it is told that it says nonsense."""

import pytest

from alignment.data.columns import ColumnMap
from alignment.data.errors import ColumnMapError


def test_the_whole_form() -> None:
    text = (
        "image=img, label=kind, unsafe=porn|hentai , safe=neutral, concept=c, category=k,"
        "caption=text,group=g,config=large,files=data/test-*,"
    )
    assert ColumnMap.parse(text) == ColumnMap(
        image="img",
        label="kind",
        unsafe=("porn", "hentai"),
        safe=("neutral",),
        concept="c",
        category="k",
        caption="text",
        group="g",
        config="large",
        files="data/test-*",
    )


def test_the_image_column_has_a_default_and_labels_may_be_one_for_all() -> None:
    assert ColumnMap.parse("all=safe") == ColumnMap(image="image", all_are="safe")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "either label and unsafe are needed, or all=safe or all=unsafe"),
        ("image=img", "either label and unsafe are needed"),
        ("label=nsfw", "either label and unsafe are needed"),
        ("unsafe=1", "either label and unsafe are needed"),
        ("label=nsfw,unsafe=|", "either label and unsafe are needed"),
        ("lable=nsfw,unsafe=1", "unknown key 'lable'; known: image, label, unsafe, safe, all"),
        ("label", "label has no value; write label=..."),
        ("label=nsfw,unsafe=", "unsafe has no value"),
        ("label=a,label=b,unsafe=1", "label stands twice"),
        ("all=fine", "all is safe or unsafe, not 'fine'"),
        ("all=safe,label=x,unsafe=1", "all stands in place of label"),
        ("label=x,unsafe=1|Yes,safe=yes|0", "yes can't mean both"),
    ],
)
def test_nonsense_is_named(text: str, problem: str) -> None:
    with pytest.raises(ColumnMapError) as caught:
        ColumnMap.parse(text)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1, "Unsafe"),
        (1.0, "Unsafe"),
        (True, "Unsafe"),
        ("1", "Unsafe"),
        (" TRUE ", "Unsafe"),
        (0, "Safe"),
        (False, "Safe"),
        ("no", "Safe"),
        (0.5, "Safe"),
        (None, None),
        ("", None),
        (float("nan"), None),
    ],
)
def test_values_are_compared_as_text(value: object, label: str | None) -> None:
    columns = ColumnMap.parse("label=x,unsafe=1|true")
    assert columns.label_of({"x": value}, None)[0] == label


def test_a_value_on_neither_list_labels_nothing() -> None:
    columns = ColumnMap.parse("label=x,unsafe=porn,safe=neutral")
    labels = [columns.label_of({"x": value}, None)[0] for value in ("porn", "neutral", "sexy")]
    assert labels == ["Unsafe", "Safe", None]


def test_a_class_goes_by_name_or_by_number() -> None:
    names = ("neutral", "porn")
    for unsafe in ("porn", "1"):
        columns = ColumnMap.parse(f"label=x,unsafe={unsafe}")
        assert columns.label_of({"x": 1}, names)[0] == "Unsafe"
        assert columns.label_of({"x": 0}, names)[0] == "Safe"
        assert columns.label_of({"x": -1}, names)[0] == "Safe"
