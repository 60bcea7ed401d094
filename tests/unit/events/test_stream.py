# SPDX-License-Identifier: Apache-2.0
import threading
from dataclasses import replace

import pytest

from bpflock.events.model import Entry, Event, Lost, Notice, Summary, only
from bpflock.events.stream import Stream, Subscription


@pytest.fixture
def many(denial: Event) -> list[Event]:
    return [replace(denial, pid=number) for number in range(1000)]


def test_every_reader_gets_everything_in_order(many: list[Event]) -> None:
    stream = Stream()
    readers = [stream.subscribe() for _ in range(3)]
    stream.publish(many[:400])
    stream.publish(many[400:])
    for reader in readers:
        assert reader.get() == many


def test_a_slow_reader_loses_what_does_not_fit_and_is_told_where(many: list[Event]) -> None:
    stream = Stream()
    slow, fast = stream.subscribe(limit=100_000), stream.subscribe()
    for event in many:
        stream.publish([event])
    stream.publish([])
    got = slow.get()
    lost = got[-1]
    assert isinstance(lost, Lost)
    assert 100 <= len(got) - 1 < 200
    assert got[:-1] == many[: len(got) - 1]
    assert lost.lines + len(got) - 1 == len(many)
    # It recovers: nothing is missing any more, and nothing is told twice.
    stream.publish(many[:2])
    assert slow.get() == many[:2]
    assert len(fast.get()) == len(many) + 2


def test_paths_count_for_the_memory_of_a_queue(denial: Event) -> None:
    reader = Subscription(limit=100_000)
    for _ in range(100):
        reader.put([replace(denial, filename=b"/" * 4096)])
    assert len(reader.get()) <= 100_000 / 4096 + 1


def test_one_batch_is_taken_however_large(many: list[Event]) -> None:
    reader = Subscription(limit=1)
    reader.put(many)
    assert reader.get() == many


def test_undelivered_entries_are_told_before_the_next(denial: Event) -> None:
    reader = Subscription()
    reader.lose([denial, denial, Lost(40)])
    assert reader.get(timeout=0.01) == []  # not before there is something to deliver: the disk is still full
    reader.put([denial])
    first, second = reader.get(timeout=0.01)
    assert isinstance(first, Lost) and first.lines == 42
    assert second is denial


def test_get_waits_for_entries_and_for_the_end(denial: Event) -> None:
    stream = Stream()
    reader = stream.subscribe()
    assert reader.get(timeout=0.01) == []
    threading.Timer(0.05, stream.publish, [[denial]]).start()
    assert reader.get(timeout=5) == [denial]
    threading.Timer(0.05, stream.unsubscribe, [reader]).start()
    assert reader.get() == []
    assert reader.closed
    stream.publish([denial])
    assert reader.get() == []


def test_recent_is_bounded_by_memory_and_keeps_the_last(denial: Event) -> None:
    stream = Stream(recent_limit=50_000)
    for number in range(500):
        stream.publish([replace(denial, pid=number, filename=b"x" * 1000)])
    kept = stream.recent(1000)
    assert 20 <= len(kept) <= 50
    assert [event.pid for event in kept if isinstance(event, Event)] == list(range(500 - len(kept), 500))
    assert stream.recent(3) == kept[-3:]
    assert stream.recent(0) == []


def test_a_new_reader_begins_with_recent_entries_without_a_gap(many: list[Event]) -> None:
    stream = Stream()
    stream.publish(many[:10])
    reader = stream.subscribe(recent=3)
    stream.publish(many[10:12])
    assert reader.get() == many[7:12]


def test_filters(denial: Event, execution: Event) -> None:
    allowed = replace(denial, denied=False)
    entries: list[Entry] = [denial, allowed, execution, Summary("kimglock", "msr", "", 1, 0), Notice("x"), Lost(1)]
    stream = Stream()
    stream.publish(entries)
    assert stream.recent(9, only(denied=True)) == [denial, entries[5]]
    assert stream.recent(9, only(lock="kimglock")) == [denial, allowed, entries[3], entries[5]]
    assert stream.recent(9, only(lock="execsnoop", denied=True)) == [entries[5]]
    assert only() is None
    reader = stream.subscribe(only(denied=True), limit=1)
    stream.publish([allowed])
    stream.publish([denial])
    stream.publish([allowed])
    # What it did not want is not lost to it.
    assert reader.get() == [denial]
