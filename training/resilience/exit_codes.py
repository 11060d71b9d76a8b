"""Exit codes of a rank by which launchers know what comes next."""

STOPPED = 85
"""The run was asked to stop, has saved a checkpoint, and is to be started again later."""

REWOUND = 86
"""The loss jumped: the run is to be started again at once, and then leaves packs out."""
