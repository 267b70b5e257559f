"""Which pictures a command computes the tower's features of."""

from types import SimpleNamespace
from typing import Any

import pytest

from alignment import features
from alignment.commands.starting import read_pictures


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The splits of the pictures of each cache that is built."""
    built: list[set[str]] = []

    def build(images: Any, examples: Any, **_: Any) -> Any:
        built.append({example.split for example in examples})
        reader = SimpleNamespace(read=lambda example_id, view: (example_id, view))
        return SimpleNamespace(open_views=lambda: reader)

    monkeypatch.setattr(features, "build_features", build)
    return built


BASE: Any = SimpleNamespace(
    is_reference_vlm=True, model=SimpleNamespace(config=SimpleNamespace(grid=8))
)


def test_the_test_split_is_read_only_where_it_is_named(
    images: Any, computed: list[set[str]]
) -> None:
    tested = images.split("test")
    trained = read_pictures(BASE, images, views=1, seed=1)
    measured = read_pictures(BASE, images, views=1, seed=1, examples=tested)

    assert "test" not in computed[0]
    assert computed[1] == {"test"}
    assert measured(tested[0].id, 0) == (tested[0].id, 0)
    with pytest.raises(KeyError):
        trained(tested[0].id, 0)
