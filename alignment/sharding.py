"""FSDP for the frozen base: each process keeps a part of every layer and borrows the rest in turn.

What a policy trains is small and stays whole in every process, as with DDP, so optimisers,
checkpoints and the saved policy are what they are without FSDP. What is large, the weights of the
language model's layers, lies in parts: torch's `fully_shard` (FSDP2) gathers a layer as it is
reached and drops it behind it, backward too. Embeddings, vocabulary projection, vision tower and
projector stay whole: passes use them outside of the layers.

Every process must reach each layer as often as the others, while sampling too; `Processes.share`,
`Processes.idle_passes` and `generate`'s own waiting see to that.
"""

from typing import Any

from alignment.policy import Policy
from alignment.policy_errors import PolicyModelError


def shard_base(policy: Policy) -> None:
    """Shard the frozen weights of the language model's layers over all processes.

    The base must fit a GPU once, to be loaded; from here on it takes its share. Raises
    PolicyModelError for a language model without a list of layers.
    """
    from torch.distributed.fsdp import fully_shard

    decoder: Any = policy.base.decoder
    layers = getattr(decoder, "layers", None)
    if layers is None:
        raise PolicyModelError(policy.base.name, "its language model has no `layers` to shard")
    trained = {parameter for parameter in decoder.parameters() if parameter.requires_grad}
    for layer in layers:
        fully_shard(layer, ignored_params=trained)
    sharded = {parameter for layer in layers for parameter in layer.parameters()}
    # The root has no weights of its own; it tells its layers when a pass begins and ends.
    fully_shard(decoder, ignored_params=set(decoder.parameters()) - (sharded - trained))
    # transformers asks this to keep sampling until the last process is through.
    policy.base.model._is_fsdp_managed_module = True
