# SPDX-License-Identifier: Apache-2.0
"""Damaged bytes: see tests/fuzz/readers.py. `make fuzz` tries many more."""

import random

import pytest

from bpflock.confine.engine import State
from bpflock.policy.tables import Numbering
from tests.fuzz import readers
from tests.fuzz.limits import cpu_time

_INPUTS = {"tables": 500}


@pytest.mark.parametrize("target", readers.TARGETS)
def test_damaged_bytes_are_refused(target: str) -> None:
    source = random.Random(1)
    seeds = readers.seeds()[target]
    for number in range(_INPUTS.get(target, 2000)):
        data = seeds[number] if number < len(seeds) else readers.mutated(source.choice(seeds), source)
        with cpu_time():
            readers.TARGETS[target](data)


def test_the_seeds_are_understood() -> None:
    seeds = readers.seeds()
    State.from_bytes(seeds["state"][0])
    Numbering.from_json(seeds["numbering"][0].decode())
    decoder = readers._decoder()
    before = decoder.malformed
    assert len(decoder.decode(seeds["events"][0])) == 8
    assert decoder.malformed == before
