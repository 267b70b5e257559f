"""The training model: image positions, recognition rows, generation, saving."""

from pathlib import Path

import pytest
import torch

from server.vlm.config import SightwardConfig
from server.vlm.model import SightwardForConditionalGeneration
from server.vlm.parts import ROW_SHIFT, ImageEmbedder
from server.vlm.tower import IMAGE_SIZE


def prompt(config: SightwardConfig, images: int = 1) -> torch.Tensor:
    return torch.tensor([[1, *[config.image_token_id] * (images * config.image_positions), 7, 8]])


def pixels(images: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    size = (images, 3, IMAGE_SIZE, IMAGE_SIZE)
    return torch.randint(0, 255, size, generator=generator).to(torch.uint8)


def test_rows_survive_saving_in_another_order(
    narrow_model: SightwardForConditionalGeneration, tmp_path: Path
) -> None:
    narrow_model.save_pretrained(tmp_path)
    again = SightwardForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert list(again.config.recognition_rows) == [101, 102, 103, 104, 105, 106]
    ids, image = prompt(again.config), pixels()
    with torch.inference_mode():
        expected = narrow_model(input_ids=ids, pixel_values=image).logits
        assert torch.equal(again(input_ids=ids, pixel_values=image).logits, expected)


@torch.inference_mode()
def test_rows_carry_the_head_and_nothing_else_past_the_words(
    narrow_model: SightwardForConditionalGeneration,
) -> None:
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    logits = narrow_model.logits_of(hidden)
    assert narrow_model.recognition is not None
    torch.testing.assert_close(
        logits[:, 101:107], narrow_model.recognition(hidden) + ROW_SHIFT, rtol=0, atol=1e-5
    )
    probabilities = logits.softmax(-1)
    assert float(probabilities[:, 100:].sum()) < 1e-20
    assert logits.dtype == torch.float32


@torch.inference_mode()
def test_cached_features_stand_for_pixels(narrow_model: SightwardForConditionalGeneration) -> None:
    ids, image = prompt(narrow_model.config), pixels()
    features = narrow_model.embedder.tower(image)
    by_pixels = narrow_model(input_ids=ids, pixel_values=image).logits
    by_features = narrow_model(input_ids=ids, tower_features=features).logits
    assert torch.equal(by_pixels, by_features)


@pytest.mark.parametrize("given", [0, 2])
def test_images_must_match_their_placeholders(
    narrow_model: SightwardForConditionalGeneration, given: int
) -> None:
    image = pixels(given) if given else None
    with pytest.raises(ValueError, match=rf"6 image positions in the prompt, {given} images"):
        narrow_model(input_ids=prompt(narrow_model.config), pixel_values=image)


@torch.inference_mode()
def test_several_images_go_in_order(narrow_model: SightwardForConditionalGeneration) -> None:
    both = pixels(2)
    ids = prompt(narrow_model.config, images=2)
    embeddings = narrow_model.embed_inputs(ids, pixel_values=both)
    second = narrow_model.embedder(both[1:])
    positions = narrow_model.config.image_positions
    torch.testing.assert_close(embeddings[:, 1 + positions : 1 + 2 * positions], second)


def test_no_safety_tokens_is_allowed(narrow_config: SightwardConfig) -> None:
    narrow_config.safety_tokens = 0
    embedder = ImageEmbedder(narrow_config).eval()
    assert narrow_config.image_positions == 4
    with torch.inference_mode():
        assert embedder(pixels()).shape == (1, 4, 32)


@torch.inference_mode()
def test_generation_reads_the_image_once_and_never_says_a_row(
    narrow_model: SightwardForConditionalGeneration,
) -> None:
    ids, image = prompt(narrow_model.config), pixels()
    said = narrow_model.generate(
        input_ids=ids, pixel_values=image, max_new_tokens=5, do_sample=False, eos_token_id=-1
    )[0, ids.shape[1] :]
    assert len(said) == 5
    assert int(said.max()) < narrow_model.config.image_token_id

    # Token by token without a cache: the same words, so the cached steps lost nothing.
    for token in said:
        logits = narrow_model(input_ids=ids, pixel_values=image, use_cache=False).logits
        assert int(logits[0, -1].argmax()) == int(token)
        ids = torch.cat([ids, token[None, None]], dim=1)
