"""A clock for code that measures time."""


class Clock:
    """Shows the time, in seconds, that a test sets."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
