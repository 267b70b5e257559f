"""Safety modules: what the head sees, what it must not see, and its shape and file."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from server.vlm.safety import SafetyModules
from server.vlm.safety_file import OtherBaseError, SafetyFileError, read_safety, write_safety
from server.vlm.safety_shape import SafetyShape
from tests.server.vlm.shapes import reference_shape

QUERIES = ("learned", "text")


def narrow_shape(query: str = "learned", **other: object) -> SafetyShape:
    return SafetyShape(
        channels=24,
        hidden_size=32,
        types=("Hate", "Arms", "clean"),
        concepts=("a", "b"),
        **{
            "head_tokens": 2,
            "width": 16,
            "heads": 4,
            "kv_heads": 2,
            "head_dim": 8,
            "query": query,
            **other,
        },  # type: ignore[arg-type]
    )


def modules(query: str = "learned", **other: object) -> SafetyModules:
    torch.manual_seed(0)
    made = SafetyModules(narrow_shape(query, **other)).eval()
    for parameter in made.parameters():  # biases and norms, too, must matter
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def features(images: int = 3, positions: int = 4) -> torch.Tensor:
    return torch.randn(images, positions, 24, generator=torch.Generator().manual_seed(1))


def hidden(images: int = 3) -> torch.Tensor:
    return torch.randn(images, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("query", QUERIES)
def test_a_reading_has_one_logit_a_level_a_type_and_a_concept(query: str) -> None:
    reading = modules(query).read(features(), hidden())
    assert [tuple(part.shape) for part in reading] == [(3, 4), (3, 3), (3, 3)]
    assert all(part.dtype == torch.float32 for part in reading)


def test_a_learned_query_needs_no_language_model() -> None:
    made = modules("learned")
    for alone, beside in zip(made(features()), made(features(), hidden()), strict=True):
        torch.testing.assert_close(alone, beside, rtol=0, atol=0)


def test_a_query_that_reads_the_text_needs_it_and_follows_it() -> None:
    made = modules("text")
    with pytest.raises(ValueError, match="hidden states"):
        made.read(features())
    first, second = made.read(features(), hidden()), made.read(features(), -hidden())
    assert (first.level - second.level).abs().max() > 0.01


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_out_of_sight_changes_nothing(query: str, dtype: torch.dtype) -> None:
    head = modules(query).to(dtype).head
    states = torch.randn(3, 5, 16, dtype=dtype)
    seen = torch.tensor([[1, 1, 0, 1, 0]] * 3, dtype=torch.bool)
    whole = head(states, seen, hidden().to(dtype))
    few = head(states[:, [0, 1, 3]], None, hidden().to(dtype))
    # The sums run in another order, so the last digits may differ; the weights may not.
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(whole.level, few.level, rtol=0, atol=tolerance)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_out_of_sight_are_exactly_zero(query: str, dtype: torch.dtype) -> None:
    head = modules(query).to(dtype).head
    states = 50.0 * torch.randn(1, 6, 16)
    seen = torch.tensor([[0, 0, 1, 0, 0, 0]], dtype=torch.bool)
    asked = head.queries(50.0 * torch.randn(1, 1, 32), 1, 1)
    keys = head.keys((states * seen.unsqueeze(-1)).to(dtype), seen)
    # Values that would show any weight at all, even one that no float16 could hold.
    values = torch.where(seen.unsqueeze(-1), 0.0, 6e4).to(dtype).expand(1, 6, 16)
    attended = head.attend(asked.to(dtype), keys, values.contiguous())
    assert torch.equal(attended, torch.zeros_like(attended))


@pytest.mark.parametrize("query", QUERIES)
def test_where_nothing_is_in_sight_nothing_is_attended(query: str) -> None:
    head = modules(query).head
    states = torch.zeros(2, 3, 16)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    asked = head.queries(hidden(2).unsqueeze(1), 2, 1)
    attended = head.attend(asked, head.keys(states, nothing), head.values(states))
    assert torch.equal(attended, torch.zeros_like(attended))


def test_a_causal_query_sees_what_came_before_it() -> None:
    head = modules("text").head
    states, asking = torch.randn(1, 6, 16), torch.randn(1, 6, 32)
    seen = torch.ones(1, 6, dtype=torch.bool)
    keys, values = head.keys(states, seen), head.values(states)
    queries = head.queries(asking, 1, 6)
    at_once = head.attend(queries, keys, values, causal=True)
    for last in range(6):
        kept = slice(0, last + 1)
        alone = head.attend(queries[:, last : last + 1], keys[:, kept], values[:, kept])
        torch.testing.assert_close(at_once[:, last], alone[:, 0], rtol=0, atol=1e-6)
    tail = head.attend(queries[:, 4:], keys, values, causal=True)
    torch.testing.assert_close(tail, at_once[:, 4:], rtol=0, atol=1e-6)


def test_every_weight_is_trained_by_level_type_and_concept() -> None:
    made = modules("text", seen_tokens=0)
    reading = made.read(features(), hidden())
    sum(part.square().sum() for part in reading).backward()  # type: ignore[union-attr]
    untrained = [
        name
        for name, parameter in made.named_parameters()
        if parameter.numel() and (parameter.grad is None or not parameter.grad.any())
    ]
    assert untrained == []


def test_the_projector_minds_the_grid() -> None:
    made = modules()
    with pytest.raises(ValueError, match="no square"):
        made.read(features(positions=6))
    with pytest.raises(ValueError, match="no grid"):
        made.read(features(positions=6), grid=(2, 2))
    wide, tall = (made.read(features(positions=6), grid=grid) for grid in ((2, 3), (3, 2)))
    assert (wide.level - tall.level).abs().max() > 1e-4


def test_a_positionwise_projector_takes_any_number_of_positions() -> None:
    made = modules(kernel=1)
    states = made.projector(features(positions=5))
    flipped = made.projector(features(positions=5).flip(1)).flip(1)
    torch.testing.assert_close(states, flipped, rtol=0, atol=1e-5)


def test_the_reference_modules_fit_into_two_megabytes() -> None:
    for query in QUERIES:
        made = SafetyModules(reference_shape(query=query))
        assert 2 * sum(parameter.numel() for parameter in made.parameters()) < 2_000_000
        assert len(made.shape.types) == 10
        assert made.head.to_concept.out_features == 76


def test_a_shape_survives_json() -> None:
    shape = reference_shape(query="text", recognises=True)
    assert SafetyShape.from_json(shape.to_json()) == shape


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kv_heads", 3),
        ("kernel", 2),
        ("head_dim", 1),
        ("width", 0),
        ("head_tokens", -1),
        ("query", "both"),
        ("levels", 5),
        ("types", ("clean", "Hate")),
        ("concepts", ("a", "a")),
    ],
)
def test_a_shape_that_makes_no_modules_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        dataclasses.replace(narrow_shape(), **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"widht": 1}, {"width": "16"}, {"recognises": 1}])
def test_a_stated_shape_of_other_fields_or_kinds_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        SafetyShape.from_json({**narrow_shape().to_json(), **change})


def test_modules_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "safety.safetensors"
    made = modules("text", seen_tokens=1).to(torch.bfloat16).float()
    write_safety(path, made, base="0123")
    file = read_safety(path)
    assert (file.shape, file.base) == (made.shape, "0123")
    for written, read in zip(
        made.read(features(), hidden()), file.modules().read(features(), hidden()), strict=True
    ):
        torch.testing.assert_close(written, read, rtol=0, atol=0)


def test_modules_of_another_base_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "safety.safetensors"
    write_safety(path, modules(), base="0123")
    read_safety(path).check_base("0123")
    with pytest.raises(OtherBaseError) as raised:
        read_safety(path).check_base("4567")
    assert (raised.value.trained_on, raised.value.base) == ("0123", "4567")


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    missing, other, cut = (tmp_path / name for name in ("missing", "other", "cut"))
    save_file({"a": torch.zeros(1)}, other, {"format": "pt"})
    write_safety(cut, modules(), base="0")
    cut.write_bytes(cut.read_bytes()[:-100])
    for path in (missing, other, cut):
        with pytest.raises(SafetyFileError) as raised:
            read_safety(path)
        assert raised.value.path == path


def test_tensors_that_do_not_fit_the_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "safety.safetensors"
    made = modules()
    made.shape = narrow_shape(width=20)
    write_safety(path, made, base="0")
    with pytest.raises(SafetyFileError, match="size mismatch"):
        read_safety(path).modules()
