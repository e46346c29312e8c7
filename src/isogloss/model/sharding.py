"""Loading a model in pieces, one on each device (FSDP2), where accelerate is asked for that."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from isogloss import processes
from isogloss.errors import ConfigError
from isogloss.model.layers import blocks
from isogloss.model.load import Loaded, ModelOptions, load, resolve_device

INSTEAD = {  # what else accelerate can be asked for, and what does it here
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed is not supported; take FSDP2 (fsdp_version: 2)",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM is not supported; take FSDP2 (fsdp_version: 2)",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config is not supported; leave it out",
    "FSDP_OFFLOAD_PARAMS": "fsdp_offload_params must be false",
    "FSDP_ACTIVATION_CHECKPOINTING": (
        "fsdp_activation_checkpointing must be false; give --gradient-checkpointing"
    ),
}


@dataclass(frozen=True)
class Sharding:
    """How a model is to be held in pieces.

    With `reshard` a block's are let go after its forward pass. `one_reads` is what accelerate was
    asked and is not done here: that one process reads the model for all.
    """

    reshard: bool = True
    one_reads: bool = False


def asked_sharding() -> Sharding | None:
    """What accelerate's launcher says of sharding; None where the model is whole on every device.

    In one process without it, accelerate's settings are accelerate's.

    Raises:
        ConfigError: accelerate is asked for something that is not supported.
    """
    pieces = _is_on("ACCELERATE_USE_FSDP")
    if processes.count() == 1 and not pieces:
        return None
    wrong = [said for name, said in INSTEAD.items() if _is_on(name)]
    if os.environ.get("ACCELERATE_MIXED_PRECISION", "no") not in ("", "no"):
        wrong.append("mixed_precision must be 'no'; give the number format with --dtype")
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower() not in ("", "no"):
        wrong.append("dynamo_backend must be 'no'")
    if pieces and os.environ.get("FSDP_VERSION", "1") != "2":
        wrong.append("fsdp_version must be 2")
    if wrong:
        raise ConfigError("accelerate's settings: " + "; ".join(wrong))
    if not pieces:
        return None
    plugin = FullyShardedDataParallelPlugin()
    return Sharding(bool(plugin.reshard_after_forward), bool(plugin.cpu_ram_efficient_loading))


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")


def load_in_pieces(name: str, options: ModelOptions, sharding: Sharding, *, frozen: bool) -> Loaded:
    """The model of `load`, held in pieces; a `frozen` one has no parameter that learns.

    Every process reads the whole model into its machine's memory, then gives its piece to the
    device, block by block.

    Raises:
        IsoglossError: what `load` finds; a quantised model.
    """
    if options.quantization != "none":
        raise ConfigError(
            "FSDP2 cannot hold a quantised model in pieces here; leave --quantization or FSDP out"
        )
    device = resolve_device(options.device)
    loaded = load(name, options, held=torch.device("cpu"))
    if frozen:
        loaded.model.requires_grad_(False)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in blocks(loaded.model):
        fully_shard(block, mesh=mesh, reshard_after_forward=sharding.reshard)
    fully_shard(loaded.model, mesh=mesh)
    return loaded
