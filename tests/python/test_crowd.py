"""The judge of the chaos tests sees each kind of fault, and none where there is none."""

from __future__ import annotations

import pytest
from crowd import Crowd, Figures, Promise, check_journals, figures_of

FIRST, SECOND = "epochAAA", "epochBBB"


def crowd_of(kept: int = 5) -> Crowd:
    """Two subscribers, who have got 0 to 4 at the offsets 1 to 5, and two publishers."""
    crowd = Crowd(0, publishers=2, subscribers=2)
    crowd.publishers[0].acknowledged = {number: (FIRST, number + 1) for number in range(5)}
    crowd.history = {number + 1: number for number in range(kept)}
    crowd.top = (FIRST, kept)
    for journal in crowd.journals:
        journal.begin(FIRST, 0)
        for number in range(5):
            journal.take(FIRST, number + 1, number)
    return crowd


def judged(crowd: Crowd) -> Figures:
    figures = figures_of(crowd)
    for promise in Promise:
        with pytest.raises(AssertionError):
            check_journals(crowd, promise, at_least=1)
    return figures


def test_all_is_well() -> None:
    assert check_journals(crowd_of(), Promise.LOSSLESS, at_least=1) == Figures(acknowledged=5)


def test_what_is_lost_may_be_told() -> None:
    crowd = crowd_of(kept=3)
    crowd.top = (SECOND, 3)
    for journal in crowd.journals:
        journal.begin(SECOND, 3)
    assert check_journals(crowd, Promise.TOLD, at_least=1) == Figures(
        acknowledged=5, lost=2, told=2, resets=2
    )
    for promise in (Promise.LOSSLESS, Promise.KEPT):
        with pytest.raises(AssertionError):
            check_journals(crowd, promise, at_least=1)


def test_who_is_told_for_nothing() -> None:
    crowd = crowd_of()
    crowd.journals[0].begin(FIRST, 5)
    check_journals(crowd, Promise.KEPT, at_least=1)
    with pytest.raises(AssertionError):
        check_journals(crowd, Promise.LOSSLESS, at_least=1)


def test_one_who_is_not_told() -> None:
    crowd = crowd_of(kept=3)
    crowd.top = (SECOND, 3)
    crowd.journals[0].begin(SECOND, 3)
    assert len(judged(crowd).silent) == 3, "two are lost, and one subscriber is still in the first epoch"


def test_a_loss_in_an_epoch_that_goes_on() -> None:
    assert judged(crowd_of(kept=4)).silent


def test_a_gap() -> None:
    crowd = crowd_of()
    crowd.publishers[1].acknowledged = {1_000_000: (FIRST, 6), 1_000_001: (FIRST, 7)}
    crowd.history |= {6: 1_000_000, 7: 1_000_001}
    crowd.top = (FIRST, 7)
    crowd.journals[0].take(FIRST, 7, 1_000_001)
    crowd.journals[1].take(FIRST, 6, 1_000_000)
    figures = judged(crowd)
    assert len(figures.silent) == 2, "one has missed 6, the other has not got 7"
    assert not figures.lost


def test_an_epoch_that_changes_untold() -> None:
    crowd = crowd_of()
    crowd.journals[0].take(SECOND, 6, 5)
    assert judged(crowd).silent


def test_a_publication_that_comes_again() -> None:
    crowd = crowd_of()
    crowd.journals[0].take(FIRST, 5, 4)
    assert judged(crowd).doubled == 1


def test_a_publication_at_two_offsets() -> None:
    crowd = crowd_of()
    crowd.history[6] = 4
    crowd.top = (FIRST, 6)
    for journal in crowd.journals:
        journal.take(FIRST, 6, 4)
    assert judged(crowd).doubled == 1


def test_one_position_of_two_publications() -> None:
    crowd = crowd_of()
    crowd.publishers[1].acknowledged = {1_000_000: (FIRST, 5)}
    assert judged(crowd).mixed == 1


def test_a_publisher_whose_publications_are_out_of_order() -> None:
    crowd = crowd_of()
    crowd.publishers[1].acknowledged = {1_000_001: (FIRST, 6), 1_000_000: (FIRST, 7)}
    crowd.history |= {6: 1_000_001, 7: 1_000_000}
    crowd.top = (FIRST, 7)
    for journal in crowd.journals:
        journal.take(FIRST, 6, 1_000_001)
        journal.take(FIRST, 7, 1_000_000)
    assert judged(crowd).reordered == 1
    crowd.publishers[1].in_doubt = {1_000_000}
    assert figures_of(crowd).reordered == 0, "nobody promised when it comes, if at all"
