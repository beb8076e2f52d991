import pytest

from trunkline_common.control import AssignKind
from trunkline_common.frames import Fence
from trunkline_gateway.events import AskWorkers, HandoverOver, TakeoverOver, Unwatch, Watch
from trunkline_gateway.ownership import (
    ASK_BACKOFF_S_MAX,
    ASSIGN_MAX,
    HANDOVER_RETRY_S,
    LET_GO_S_MAX,
    OWNERLESS_S_MAX,
    READY_S_MAX,
    TRIES_AT_ONCE,
    TROUBLE_MEMORY_S,
    GiveUp,
    LetGo,
    Owner,
    Ownership,
    Phase,
    Resume,
    Switch,
    Yield,
)
from trunkline_gateway.reasons import HandoverResult, Loss, TakeoverResult

FIRST = Owner("wk-1", Fence(2, 1))
SECOND = Owner("wk-2", Fence(2, 7))
THIRD = Owner("wk-3", Fence(2, 8))
NOW = 100.0


def held() -> Ownership:
    ownership = Ownership()
    ownership.attached(FIRST)
    return ownership


def seeking(how: Loss = Loss.GONE) -> Ownership:
    ownership = held()
    lost = "" if how is Loss.STUCK else "wk-1"
    assert ownership.lost("wk-1", how, NOW) == [AskWorkers(AssignKind.TAKEOVER, SECOND.fence, lost)]
    return ownership


def moving() -> Ownership:
    ownership = held()
    assert ownership.asked_to_move(NOW) == [AskWorkers(AssignKind.HANDOVER, SECOND.fence)]
    assert ownership.assigned(SECOND, NOW) == [Watch("wk-2")]
    return ownership


def test_a_lost_owner_is_followed_by_whoever_takes_the_call() -> None:
    ownership = seeking()
    assert not ownership.is_reachable

    counted, switch = ownership.assigned(SECOND, NOW + 0.1)

    assert counted == TakeoverOver(Loss.GONE, TakeoverResult.TAKEN)
    assert switch == Switch(FIRST, SECOND, Loss.GONE, NOW, is_final=False, spent_seqs=0)
    assert (ownership.owner, ownership.phase, ownership.wake_at()) == (SECOND, Phase.HELD, None)
    assert ownership.lost("wk-1", Loss.SILENT, NOW) == [], "the one before is nobody's business now"


def test_a_few_are_asked_at_once_and_then_less_and_less_often() -> None:
    ownership = seeking()
    now, waits = NOW, []
    for number in range(12):
        ownership.not_assigned(Fence(2, 7 + number), False, now)
        wake_at = ownership.wake_at()
        assert wake_at is not None
        waits.append(wake_at - now)
        now = wake_at
        assert ownership.wake(now) == [AskWorkers(AssignKind.TAKEOVER, Fence(2, 8 + number), "wk-1")]

    assert waits[: TRIES_AT_ONCE - 1] == [0.0] * (TRIES_AT_ONCE - 1)
    assert waits[TRIES_AT_ONCE:] == sorted(waits[TRIES_AT_ONCE:])
    assert waits[-1] == pytest.approx(ASK_BACKOFF_S_MAX)


def test_where_nobody_has_room_the_next_question_waits() -> None:
    ownership = seeking()
    ownership.not_assigned(SECOND.fence, True, NOW)

    assert ownership.wake(NOW) == []


def test_a_call_without_an_owner_is_given_up_in_the_end() -> None:
    ownership = seeking()
    ownership.not_assigned(SECOND.fence, True, NOW)

    assert GiveUp() not in ownership.wake(NOW + OWNERLESS_S_MAX - 0.1)
    assert ownership.wake(NOW + OWNERLESS_S_MAX) == [GiveUp()]


def test_no_fence_is_given_twice_and_none_that_does_not_fit_into_a_frame() -> None:
    ownership = Ownership()
    ownership.attached(Owner("wk-1", Fence(2, ASSIGN_MAX)))

    assert ownership.lost("wk-1", Loss.GONE, NOW) == []
    assert ownership.wake(NOW + OWNERLESS_S_MAX) == [GiveUp()]


def test_an_owner_that_is_back_first_keeps_the_call() -> None:
    ownership = seeking(Loss.SILENT)

    steps = ownership.pinged("wk-1", 41, NOW + 0.2)

    assert steps == [TakeoverOver(Loss.SILENT, TakeoverResult.RETURNED), Resume(41)]
    assert ownership.is_reachable
    assert ownership.assigned(SECOND, NOW + 0.3) == [LetGo(SECOND)], "who took it in vain is told"


def test_a_stuck_call_is_back_only_when_it_moves() -> None:
    ownership = held()
    ownership.pinged("wk-1", 41, NOW)
    ownership.lost("wk-1", Loss.STUCK, NOW)

    assert ownership.pinged("wk-1", 41, NOW + 0.2) == []
    assert Resume(42) in ownership.pinged("wk-1", 42, NOW + 0.4)


def test_a_broken_link_is_over_with_the_owners_next_word() -> None:
    ownership = held()
    ownership.link_lost(NOW)
    assert (ownership.is_reachable, ownership.trouble_since) == (False, NOW)

    assert ownership.pinged("wk-2", 7, NOW + 1) == []
    assert ownership.pinged("wk-1", 41, NOW + 1) == [Resume(41)]
    assert (ownership.is_reachable, ownership.trouble_since) == (True, None)


def test_a_link_that_flaps_is_one_trouble() -> None:
    ownership = held()
    ownership.link_lost(NOW)
    ownership.pinged("wk-1", 1, NOW + 5)
    ownership.link_lost(NOW + 5 + TROUBLE_MEMORY_S / 2)
    assert ownership.trouble_since == NOW
    ownership.pinged("wk-1", 1, NOW + 7)

    ownership.link_lost(NOW + 7 + 2 * TROUBLE_MEMORY_S)

    assert ownership.trouble_since == NOW + 7 + 2 * TROUBLE_MEMORY_S


def test_a_handover_ends_when_the_owner_has_let_go() -> None:
    ownership = moving()
    assert ownership.ready(SECOND.fence, 0, NOW + 1) == [Yield()]
    assert ownership.is_reachable, "the owner goes on"

    counted, switch = ownership.let_go(NOW + 3)

    assert counted == HandoverOver(HandoverResult.MOVED)
    assert switch == Switch(FIRST, SECOND, None, NOW + 1, is_final=True, spent_seqs=1)


def test_readiness_may_overtake_the_answer() -> None:
    ownership = held()
    ownership.asked_to_move(NOW)

    assert ownership.ready(SECOND.fence, 0, NOW) == []
    assert ownership.assigned(SECOND, NOW) == [Watch("wk-2"), Yield()]


def test_only_the_candidate_is_heard_and_once() -> None:
    ownership = moving()

    assert ownership.ready(FIRST.fence, 0, NOW) is None
    assert ownership.ready(THIRD.fence, 0, NOW) is None
    assert ownership.ready(SECOND.fence, 0, NOW) == [Yield()]
    assert ownership.ready(SECOND.fence, 1, NOW) is None
    assert held().ready(SECOND.fence, 0, NOW) is None


def test_a_handover_that_comes_to_nothing_is_tried_again() -> None:
    ownership = moving()

    steps = ownership.wake(NOW + READY_S_MAX)

    assert steps == [LetGo(SECOND), Unwatch("wk-2"), HandoverOver(HandoverResult.NOT_READY)]
    assert ownership.wake_at() == NOW + READY_S_MAX + HANDOVER_RETRY_S
    again = AskWorkers(AssignKind.HANDOVER, THIRD.fence)
    assert ownership.wake(NOW + READY_S_MAX + HANDOVER_RETRY_S) == [again]
    assert ownership.not_assigned(THIRD.fence, True, NOW + 20) == [HandoverOver(HandoverResult.NO_WORKER)]
    assert ownership.wake_at() == NOW + 20 + HANDOVER_RETRY_S


def test_a_lost_candidate_leaves_the_owner_where_it_is() -> None:
    ownership = moving()

    steps = ownership.lost("wk-2", Loss.GONE, NOW + 1)

    assert HandoverOver(HandoverResult.CANDIDATE_LOST) in steps
    assert (ownership.owner, ownership.is_reachable) == (FIRST, True)


def test_an_owner_that_dies_while_it_hands_over_is_followed_by_the_candidate_at_once() -> None:
    ownership = moving()

    *_, switch = ownership.lost("wk-1", Loss.GONE, NOW + 1)

    assert switch == Switch(FIRST, SECOND, Loss.GONE, NOW + 1, is_final=False, spent_seqs=0)


def test_an_owner_that_does_not_let_go_has_no_say_any_more() -> None:
    ownership = moving()
    ownership.ready(SECOND.fence, 0, NOW)

    counted, switch = ownership.wake(NOW + LET_GO_S_MAX)

    assert counted == HandoverOver(HandoverResult.OVERDUE)
    assert switch == Switch(FIRST, SECOND, None, NOW, is_final=False, spent_seqs=1)


def test_an_owner_that_lets_go_before_anybody_is_there_does_not_come_back() -> None:
    ownership = held()

    assert ownership.let_go(NOW) == [AskWorkers(AssignKind.TAKEOVER, SECOND.fence)]
    assert ownership.pinged("wk-1", 41, NOW + 0.2) == []
    *_, switch = ownership.assigned(SECOND, NOW + 0.3)

    assert isinstance(switch, Switch)
    assert switch.is_final


def test_a_move_is_asked_for_while_an_older_question_is_open() -> None:
    ownership = seeking(Loss.SILENT)
    ownership.pinged("wk-1", 41, NOW)

    assert ownership.asked_to_move(NOW) == []
    assert ownership.assigned(SECOND, NOW) == [
        LetGo(SECOND),
        AskWorkers(AssignKind.HANDOVER, THIRD.fence),
    ]


def test_who_waits_for_a_call_that_ends_is_told() -> None:
    assert moving().ended() == [LetGo(SECOND), HandoverOver(HandoverResult.ENDED)]
    assert seeking().ended() == [TakeoverOver(Loss.GONE, TakeoverResult.ENDED)]
    assert seeking().ended(is_given_up=True) == [TakeoverOver(Loss.GONE, TakeoverResult.GIVEN_UP)]


def test_who_takes_a_call_that_has_ended_without_an_owner_is_its_owner() -> None:
    ownership = seeking()
    ownership.ended()

    (switch,) = ownership.assigned_late(SECOND, NOW + 0.1)

    assert isinstance(switch, Switch)
    assert ownership.wake_at() is None
