"""A day's budget: what counts into which day, and when it is spent."""

from datetime import date

from trunkline_worker.budget import DailyBudget

MONDAY, TUESDAY, WEDNESDAY = date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 25)


def test_it_is_spent_at_a_hundred_percent() -> None:
    budget = DailyBudget(10)

    budget.add(MONDAY, 9.99)
    assert not budget.is_spent(MONDAY)
    budget.add(MONDAY, 0.01)
    assert budget.is_spent(MONDAY)


def test_each_day_begins_with_nothing_spent() -> None:
    budget = DailyBudget(10)
    budget.add(MONDAY, 25)

    assert budget.is_spent(MONDAY)
    assert not budget.is_spent(TUESDAY)


def test_what_is_told_after_midnight_counts_into_its_own_day() -> None:
    budget = DailyBudget(10)
    budget.add(TUESDAY, 1)
    budget.add(MONDAY, 2)

    assert (budget.spent_usd(MONDAY), budget.spent_usd(TUESDAY)) == (2, 1)


def test_days_long_gone_are_forgotten() -> None:
    budget = DailyBudget(10)
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        budget.add(day, 1)

    assert [budget.spent_usd(day) for day in (MONDAY, TUESDAY, WEDNESDAY)] == [0, 1, 1]


def test_without_a_budget_nothing_is_ever_spent() -> None:
    budget = DailyBudget(0)
    budget.add(MONDAY, 1_000_000)

    assert not budget.is_spent(MONDAY)
