"""Putting fresh or trained safety modules on a base, for training and evaluation."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from alignment.policy_base import PolicyBase
from alignment.policy_vision import PictureReader
from alignment.safety.guarded import GuardedBase, GuardedReference
from alignment.safety.guarded_attached import GuardedAttached
from alignment.safety.recipes import ModulesShape
from server.concepts.taxonomy import load_taxonomy
from server.engine.hf_prompts import PromptRenderer
from server.errors import SightwardError
from server.vlm.assembly import read_base_digest
from server.vlm.attach.bases import base_of as attachable_base_of
from server.vlm.attach.bases import check_shape, shape_for
from server.vlm.attach.prompts import prepare_processor
from server.vlm.attach.safe_model import SafeModel
from server.vlm.config import lay_out_safety_rows
from server.vlm.safety import SafetyModules
from server.vlm.safety_shape import SafetyShape, risk_types
from server.vlm.tower import CHANNELS


class UnfitModulesError(SightwardError):
    """Safety modules can't be put on this base; `reason` says why."""

    def __init__(self, base: str, reason: str) -> None:
        super().__init__(f"{base} can't carry these safety modules: {reason}")
        self.base = base
        self.reason = reason


def shape_of(modules: ModulesShape, base: PolicyBase, *, learns_concepts: bool) -> SafetyShape:
    """The modules' whole shape on this base.

    A base without recognition rows gets the head's, where the head learns concepts. Raises
    UnfitModulesError, and AttachError for a base that nothing can be attached to.
    """
    chosen = asdict(modules)
    try:
        if not base.is_reference_vlm:
            shape = shape_for(base.model.config, recognises=learns_concepts, **chosen)
            check_shape(shape, base.model.config)
            return shape
        text: Any = base.model.config.text_config
        return SafetyShape(
            channels=CHANNELS,
            hidden_size=text.hidden_size,
            types=risk_types(),
            concepts=load_taxonomy().concept_names,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=text.head_dim,
            **chosen,
        )
    except ValueError as error:
        raise UnfitModulesError(base.name, str(error)) from error


def fresh_modules(shape: SafetyShape, *, seed: int) -> SafetyModules:
    """New modules in float32, drawn by `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SafetyModules(shape)


def guard(
    base: PolicyBase, modules: SafetyModules, *, pictures: PictureReader, length_multiple: int
) -> GuardedBase:
    """Put modules on a base, in place, frozen as the base is.

    `pictures` gives pictures, of the reference VLM its tower's features. Raises UnfitModulesError,
    and AttachError for a base that nothing can be attached to.
    """
    modules = modules.to(base.model.device).requires_grad_(False).eval()
    if base.is_reference_vlm:
        _put_on_reference(base, modules)
        return GuardedReference(base, modules, pictures=pictures, length_multiple=length_multiple)
    config = base.model.config
    vocabulary = prepare_processor(base.processor, attachable_base_of(config), modules.shape)
    # The renderer keeps the template that it was made with.
    base = replace(base, renderer=PromptRenderer(base.processor, config.model_type))
    return GuardedAttached(
        base,
        SafeModel(base.model, modules, vocabulary),
        pictures=pictures,
        length_multiple=length_multiple,
    )


def guard_carried(
    base: PolicyBase, *, pictures: PictureReader, length_multiple: int
) -> GuardedBase:
    """The reference VLM with the modules that its checkpoint carries.

    Raises UnfitModulesError for a model without any.
    """
    modules = getattr(base.model, "safety", None) if base.is_reference_vlm else None
    if not isinstance(modules, SafetyModules):
        raise UnfitModulesError(base.name, "it has none of its own, and none were named")
    modules.requires_grad_(False).eval()
    return GuardedReference(base, modules, pictures=pictures, length_multiple=length_multiple)


def digest_of(guarded: GuardedBase) -> str:
    """What names the weights that modules on this base are trained on.

    Raises UnfitModulesError for a reference VLM that was not assembled here.
    """
    if isinstance(guarded, GuardedAttached):
        return guarded.base_digest()
    digest = read_base_digest(Path(guarded.base.name))
    if digest is None:
        raise UnfitModulesError(guarded.base.name, "it has no digest; assemble the reference VLM")
    return digest


def _put_on_reference(base: PolicyBase, modules: SafetyModules) -> None:
    config = base.model.config
    added = {
        "safety": modules.shape.to_json(),
        "safety_token_ids": lay_out_safety_rows(config.recognition_rows.stop, modules.shape),
    }
    try:
        # Making a configuration checks it; the model's own is changed only if that one is sound.
        checked = type(config)(**{**config.to_dict(), **added})
    except ValueError as error:
        raise UnfitModulesError(base.name, str(error)) from error
    if checked.safety_rows.stop > config.text_config.vocab_size:
        raise UnfitModulesError(base.name, "its vocabulary has no room for levels and types")
    for name, value in added.items():
        setattr(config, name, value)
    base.model.safety = modules
    base.processor.image_positions = config.image_positions
