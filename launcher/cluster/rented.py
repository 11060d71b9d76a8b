"""The `rented` section of a cluster file, for tools that rent machines and start a command on them.

rented:
    image: registry.example/clinical-modernbert:1
    accelerator: H100
    spot: true
    volumes: {runs: /runs}
    options: {resources: {infra: aws}}
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class RentedConfig(BaseModel):
    """What SkyPilot or dstack rent, and what is on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(description="container image with this package installed")
    accelerator: str | None = Field(
        None, description="GPU as the tool names it, such as A100-80GB; null: `gpu` in capitals"
    )
    spot: bool = Field(False, description="rent machines that may be taken back")
    volumes: dict[str, str] = Field(default_factory=dict, description="volume of the tool -> directory on each machine")
    shared_memory: PositiveInt = Field(64, description="gigabytes of /dev/shm, in dstack")
    grace_seconds: PositiveInt = Field(120, description="time to save a checkpoint when a task is stopped")
    options: dict[str, Any] = Field(
        default_factory=dict, description="anything else of the file, merged into it by its keys; null removes one"
    )
