"""Pure: of several things that time alone will demand, the first."""


def earliest(*times: float | None) -> float | None:
    """Return the first of these times; None of them means nothing is due."""
    return min((at for at in times if at is not None), default=None)
