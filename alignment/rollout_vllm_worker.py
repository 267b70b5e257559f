"""What runs inside vLLM's worker: new weights into the model that it serves.

vLLM mixes `PolicyWeights` into its worker class by name (`worker_extension_cls`). After loading,
vLLM packs weights for its kernels and throws the originals away, so nothing can be copied in place;
its layerwise reload restores a layer, loads it and packs it anew, into the same memory where graphs
were captured. Layers that get no weight keep what they have.
"""

from typing import Any, cast

WORKER_EXTENSION = f"{__name__}.PolicyWeights"
TAKE_WEIGHTS = "take_policy_weights"


class PolicyWeights:
    """Methods that `collective_rpc` calls; `self` is vLLM's worker."""

    def take_policy_weights(self, path: str) -> None:
        """Load a safetensors file with whole layers, by names that the model's checkpoint may use.

        Raises RuntimeError when the model skips a name or joins layers of which only a part came;
        its weights are then of no use any more.
        """
        import torch
        from safetensors import safe_open
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader.reload import (
            finalize_layerwise_reload,
            initialize_layerwise_reload,
        )

        worker = cast("Any", self)
        model = worker.model_runner.get_model()
        with set_current_vllm_config(worker.vllm_config), torch.no_grad():
            initialize_layerwise_reload(model)
            places = {name: one.numel() for name, one in model.named_parameters()}
            try:
                with safe_open(path, framework="pt") as file:
                    names = list(file.keys())
                    loaded = model.load_weights((name, file.get_tensor(name)) for name in names)
                    given = sum(_numel(file.get_slice(name)) for name in names)
                torn = _torn_layers(model)
            finally:
                finalize_layerwise_reload(model, worker.model_config)
        if torn:
            raise RuntimeError(f"only a part of {torn[0]} was given")
        # Elsewhere a worker holds a share of each layer, and the sums say nothing.
        is_whole = worker.vllm_config.parallel_config.world_size == 1
        if is_whole and loaded is not None and sum(places[name] for name in loaded) != given:
            raise RuntimeError(f"not all of {names[0]} and its neighbours were taken")


def _torn_layers(model: Any) -> list[str]:
    """Names of layers that have got some of their weights and wait for the others."""
    from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

    infos = ((name, get_layerwise_info(layer)) for name, layer in model.named_modules())
    return [
        name
        for name, info in infos
        if info.can_load() and 0 < info.load_numel < (info.load_numel_total or 0)
    ]


def _numel(piece: Any) -> int:
    count = 1
    for side in piece.get_shape():
        count *= side
    return count
