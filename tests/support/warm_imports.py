"""What a rank imports when it starts its engine, for the server of `warm_start`."""

from clinical_modernbert.training.zero.without_compiler import without_compiler

with without_compiler():
    import deepspeed.module_inject.auto_ep_layer
    import deepspeed.runtime.bf16_optimizer
    import deepspeed.runtime.zero.stage3
    import deepspeed.runtime.zero.stage_1_and_2  # noqa: F401
