"""ZeRO-3 without its hooks, where every parameter stays gathered.

DeepSpeed follows each module with hooks, which gather its parameters before it runs and release them afterwards. On
parameters that it never releases these hooks do nothing, but their Python took as much CPU time as the model itself
(docs/planning.md). What remains of ZeRO-3 is the partitioning of gradients and optimizer
state, and one gather after each step.
"""

from typing import Any


def drop_gathering_hooks(engine: Any) -> None:
    """Gather all parameters now, and remove the hooks that would do it for each module."""
    offload = engine.optimizer.parameter_offload
    parameters = list(engine.module.parameters())
    assert all(parameter.ds_persist for parameter in parameters)
    offload.destroy()
    for module in engine.module.modules():
        # DeepSpeed's own dictionary looks for a missing parameter at each access.
        module._parameters = dict(module._parameters)
    parameters[0].all_gather(parameters)
