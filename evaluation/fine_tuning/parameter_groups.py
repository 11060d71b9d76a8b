"""Which parameters share a learning rate and a weight decay."""

import re
from typing import Any

from torch import nn

from ...configs.errors import UserError
from ..models.protocol import Protocol

_LAYER = re.compile(r"(?:^|\.)(?:layers?|block|h)\.(\d+)\.")
"""The number of a layer in the name of a parameter: ours and ModernBERT's `layers.3.`, BERT's `layer.3.`, T5's
`block.3.`, GPT's `h.3.`."""


def parameter_groups(model: nn.Module, protocol: Protocol, lr: float) -> list[dict[str, Any]]:
    """The trained parameters in AdamW's groups.

    With `layer_decay` d, the head has the rate lr, the last of L layers d lr, the first one d^L lr, and the embeddings
    d^(L+1) lr.

    Raises:
        UserError: there is a layer decay, and the names of the parameters show no layers.
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    depths = dict.fromkeys(parameters, 0) if protocol.layer_decay == 1 else depths_below_head(list(parameters))
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for matrices in (True, False):
        for name, value in parameters.items():
            if (value.dim() > 1) == matrices:
                groups.setdefault((depths[name], matrices), []).append(value)
    return [
        {
            "params": values,
            "lr": lr * protocol.layer_decay**depth,
            "weight_decay": protocol.weight_decay if matrices else 0.0,
        }
        for (depth, matrices), values in groups.items()
    ]


def depths_below_head(names: list[str]) -> dict[str, int]:
    """How many steps of decay each parameter is below the head: 0 for it, 1 for the last layer.

    Raises:
        UserError: no name has the number of a layer.
    """
    layers = {name: int(found[1]) for name in names if (found := _LAYER.search(name))}
    if not layers:
        raise UserError(
            f"protocol.layer_decay: no layers in the names of this model's parameters, such as {names[0]}; set it to 1"
        )
    count = max(layers.values()) + 1
    return {name: count - layers[name] if name in layers else (count + 1) * ("embedding" in name) for name in names}
