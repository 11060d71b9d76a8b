"""Exit codes of a rank, by which launchers decide what to do next."""

STOPPED = 85
"""The run was requested to stop and has saved a checkpoint. Start it again later."""

REWOUND = 86
"""The loss spiked, or too many steps were not finite. Start the run again at once; it then leaves packs out."""

WAITING = 87
"""The scheduler gave the run a number of ranks that does not fit the run. Start it again with another number."""
