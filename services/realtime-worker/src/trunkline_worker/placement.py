"""Pure: how many places a worker takes in the queue group, so that new calls go where there is most room.

NATS gives a request to one of a group's subscriptions at random. A worker that subscribes several times is chosen
so much more often; one that is full, stops, or cannot serve does not subscribe at all.
"""

from typing import Final

PLACES_MAX: Final = 10
"""Of an empty worker. More would tell the shares apart more finely, and cost a subscription more for each."""


def places(free: int, capacity: int, *, may_take: bool, on_trial: bool) -> int:
    """Return the subscriptions to hold, 0 to `PLACES_MAX`, in proportion to the free share of `capacity` calls.

    A worker `on_trial` takes one call to show that its sessions begin again; others should get the rest.
    """
    if free <= 0 or not may_take:
        return 0
    if on_trial:
        return 1
    return min(-(-PLACES_MAX * free // capacity), PLACES_MAX)
