from trunkline_common.control import Heartbeat
from trunkline_gateway.roster import FRESH_S, WORKERS_MAX, Roster

NOBODY = frozenset[str]()


def beat(
    worker: str, active: int = 0, capacity: int = 10, *, draining: bool = False, region: str = "eu"
) -> Heartbeat:
    return Heartbeat(worker=worker, active=active, capacity=capacity, draining=draining, region=region)


def test_the_more_room_a_worker_has_the_likelier_it_is_asked() -> None:
    roster = Roster("eu")
    roster.heard(beat("busy", active=9), now=0)
    roster.heard(beat("idle", active=1), now=0)

    chosen = [roster.choose(NOBODY, 0.5, draw / 100) for draw in range(100)]

    assert chosen.count("busy") == 10
    assert chosen.count("idle") == 90


def test_who_was_not_heard_of_a_moment_ago_is_not_asked() -> None:
    roster = Roster("eu")
    roster.heard(beat("hangs"), now=0)
    roster.heard(beat("lives"), now=1)

    assert {roster.choose(NOBODY, FRESH_S + 0.1, draw / 10) for draw in range(10)} == {"lives"}


def test_full_and_stopping_workers_other_regions_and_the_lost_owner_are_not_asked() -> None:
    roster = Roster("eu")
    roster.heard(beat("full", active=10), now=0)
    roster.heard(beat("stopping", draining=True), now=0)
    roster.heard(beat("far", region="us"), now=0)
    roster.heard(beat("owner"), now=0)

    assert roster.choose(frozenset({"owner"}), 0.1, 0.5) is None


def test_what_is_remembered_has_a_limit() -> None:
    roster = Roster("eu")
    for number in range(WORKERS_MAX + 1):
        roster.heard(beat(f"wk-{number}"), now=number)

    assert roster.choose(NOBODY, WORKERS_MAX + 0.5, 0.0) == f"wk-{WORKERS_MAX}"
