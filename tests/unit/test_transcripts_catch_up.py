from trunkline_transcripts.catch_up import BEHIND_EVENTS_MIN, CatchUp, CaughtUp


def test_a_store_that_keeps_up_has_nothing_to_tell() -> None:
    catch_up = CatchUp()

    assert catch_up.stored(500, left=0, left_at=1.0, began_at=1.0, now=1.1) is None


def test_after_an_outage_it_tells_how_many_how_long_and_how_fast() -> None:
    catch_up = CatchUp()
    catch_up.failed(now=10.0)
    catch_up.failed(now=15.0)

    assert catch_up.stored(500, left=400, left_at=40.0, began_at=40.0, now=40.1) is None
    told = catch_up.stored(400, left=0, left_at=40.1, began_at=40.1, now=40.2)

    assert told == CaughtUp(events=900, took_s=40.2 - 40.0, away_s=30.0)
    assert round(told.events_per_s) == 4_500
    assert catch_up.stored(1, left=0, left_at=41.0, began_at=41.0, now=41.1) is None


def test_a_second_failure_while_it_catches_up_is_the_same_outage() -> None:
    catch_up = CatchUp()
    catch_up.failed(now=10.0)
    catch_up.stored(500, left=400, left_at=20.0, began_at=20.0, now=20.5)
    catch_up.failed(now=21.0)

    told = catch_up.stored(400, left=0, left_at=26.0, began_at=26.0, now=26.5)

    assert told == CaughtUp(events=900, took_s=6.5, away_s=15.0)


def test_a_start_on_a_full_log_is_caught_up_too() -> None:
    catch_up = CatchUp()

    assert catch_up.stored(500, left=BEHIND_EVENTS_MIN, left_at=0.0, began_at=0.0, now=0.5) is None
    assert catch_up.stored(500, left=0, left_at=0.5, began_at=0.5, now=1.0) == CaughtUp(
        1_000, took_s=1.0, away_s=0.0
    )


def test_what_was_left_before_the_outage_says_nothing() -> None:
    catch_up = CatchUp()
    catch_up.failed(now=10.0)

    assert catch_up.stored(1, left=0, left_at=9.9, began_at=40.0, now=40.5) is None
    assert catch_up.drained(at=9.95) is None
    assert catch_up.drained(at=40.6) == CaughtUp(events=1, took_s=0.5, away_s=30.0)
    assert catch_up.drained(at=41.0) is None


def test_the_rate_is_that_of_the_last_five_seconds() -> None:
    catch_up = CatchUp()
    for second in range(10):
        catch_up.stored(100, left=0, left_at=second, began_at=second, now=second)

    assert catch_up.rate(now=9.0) == 100.0
    assert catch_up.rate(now=60.0) == 0.0
