# SPDX-License-Identifier: Apache-2.0
"""What changes of the profiles in force amount to, without a kernel."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bpflock.confine.engine import State, Usage
from bpflock.confine.functions import Probe, kept
from bpflock.confine.policies import Policies, pack, unpack
from bpflock.errors import UsageError
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import Origin, PolicySet
from bpflock.policy.symbols import identity
from bpflock.policy.tables import Numbering


class FakeEngine:
    def __init__(self) -> None:
        self.in_force: State | None = None
        self.policy = PolicySet()

    def state(self) -> State | None:
        return self.in_force

    def update(self, change: Callable[[State | None], tuple[PolicySet, str]], *, only_less: bool = False) -> None:
        self.policy, source = change(self.in_force)
        numbering = Numbering()
        numbering.extend(self.policy)
        self.in_force = State(1, numbering, source, ())

    def usage(self) -> tuple[State | None, dict[int, Usage]]:
        return self.in_force, {1: Usage({7: 1, 9: 3}, denied=2, last=5.0)}

    def unload(self) -> bool:
        was, self.in_force = self.in_force, None
        return was is not None


def policy(file: str, *executables: str) -> PolicySet:
    return PolicySet(parse("\n".join(f'#![profile "{e}"]\nfs("/a", read)' for e in executables), file))


@pytest.fixture
def policies() -> Policies:
    return Policies(FakeEngine(), allow_missing=True)  # type: ignore[arg-type]


def names(policies: Policies) -> list[str]:
    return [profile.executable for profile in policies.loaded()]


def test_what_is_packed_keeps_its_meaning_and_its_place() -> None:
    profiles = parse('\n  #![profile "/a" complain]\n#[func "f"] fs("/x", read)', "p.bpfbox")
    (found,) = unpack(pack(profiles))
    assert (found.executable, found.complain, found.origin) == ("/a", True, Origin("p.bpfbox", 2, 6))
    assert found.rules[0].object == profiles[0].rules[0].object
    assert found.rules[0].functions == profiles[0].rules[0].functions
    assert unpack("") == []


def test_loading(policies: Policies) -> None:
    assert names(policies) == []
    policies.load(policy("one", "/a", "/b"))
    policies.load(policy("two", "/c"))
    assert names(policies) == ["/a", "/b", "/c"]
    policies.load(policy("one", "/b"))  # the file has no /a any more
    assert names(policies) == ["/c", "/b"]
    policies.load(policy("three", "/c"))
    assert [str(p.origin) for p in policies.loaded()] == ["one:1:4", "three:1:4"]
    policies.replace(policy("four", "/d"))
    assert names(policies) == ["/d"]


def test_what_is_replaced_is_told(policies: Policies) -> None:
    assert [found.replaces for found in policies.load(policy("one", "/a", "/b"))] == [None, None]
    assert [found.replaces for found in policies.load(policy("one", "/a", "/b"))] == [None, None]
    assert [found.replaces for found in policies.load(policy("two", "/c", "/b"))] == [None, Origin("one", 3, 4)]
    (found,) = policies.replace(policy("three", "/c"))
    assert found.replaces == Origin("two", 1, 4)


def test_status(policies: Policies) -> None:
    assert policies.status() == []
    policies.load(policy("one", "/a", "/b"))
    first, second = policies.status()
    assert (first.profile.executable, first.usage.threads, first.usage.denied) == ("/a", 4, 2)
    assert (second.profile.executable, second.usage.threads, second.since) == ("/b", 0, None)
    assert policies.processes(["/a", "/b", "/c"]) == [7, 9]
    assert policies.processes(["/b"]) == []


def test_links_are_loaded_for_what_they_point_to(tmp_path: Path) -> None:
    policies = Policies(FakeEngine())  # type: ignore[arg-type]
    tmp_path = tmp_path.resolve()
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("#!/bin/sh\n")
    real.chmod(0o755)
    link.symlink_to("real")
    (found,) = policies.load(policy("one", str(link)))
    assert found.resolved.names == f"{link} -> {real}"
    assert names(policies) == [str(real)]
    (found,) = policies.load(policy("two", str(real)))
    assert found.replaces == Origin("one", 1, 4)
    assert policies.sync(Path("/d"), policy("/d/p", str(link))) is not None
    assert policies.sync(Path("/d"), policy("/d/p", str(link))) is None
    policies.set_mode(str(link), complain=True)
    policies.unload([str(link)])
    assert names(policies) == []


def test_adding_refuses_what_is_there(policies: Policies) -> None:
    policies.load(policy("one", "/a"))
    with pytest.raises(UsageError, match="/a has a profile in force already, of one:1:4"):
        policies.add(policy("two", "/b", "/a"))
    assert names(policies) == ["/a"]
    policies.add(policy("two", "/b"))
    assert names(policies) == ["/a", "/b"]


def test_unloading_and_modes(policies: Policies) -> None:
    with pytest.raises(UsageError, match="no profile is in force for /a"):
        policies.unload(["/a"])
    policies.load(policy("one", "/a", "/b"))
    policies.set_mode("/a", complain=True)
    assert [p.complain for p in policies.loaded()] == [True, False]
    policies.set_mode("/a", complain=False)
    assert not any(p.complain for p in policies.loaded())
    with pytest.raises(UsageError) as caught:
        policies.unload(["/a", "/bb"])
    assert caught.value.hint == "did you mean '/b'?"
    assert names(policies) == ["/a", "/b"]
    policies.unload(["/a"])
    assert names(policies) == ["/b"]
    assert policies.unload_all()
    assert not policies.unload_all()


def test_a_directory_is_followed(policies: Policies) -> None:
    directory = Path("/etc/d")
    policies.load(policy("/elsewhere/p", "/x"))
    assert policies.sync(directory, policy("/etc/d/one", "/a", "/b")) is not None
    assert policies.sync(directory, policy("/etc/d/one", "/a", "/b")) is None
    assert names(policies) == ["/x", "/a", "/b"]
    assert policies.sync(directory, policy("/etc/d/two", "/a")) is not None
    assert names(policies) == ["/x", "/a"]
    assert policies.sync(directory, PolicySet()) is not None
    assert names(policies) == ["/x"]


def test_a_directory_is_loaded_again_when_a_probed_file_was_replaced(policies: Policies, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_text("one")
    wanted = policy(str(tmp_path / "p.bpfbox"), "/a")
    assert policies.sync(tmp_path, wanted) is not None
    engine = policies.engine
    assert isinstance(engine, FakeEngine) and engine.in_force
    probe = Probe(1, 1, "f", str(binary), 16, identity(binary.stat()))
    engine.in_force = State.from_bytes(replace(engine.in_force, probes=(probe,)).to_bytes())
    assert engine.in_force.probes == (probe,)
    assert policies.sync(tmp_path, wanted) is None
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").rename(binary)
    assert policies.sync(tmp_path, wanted) is not None
    binary.unlink()
    engine.in_force = replace(engine.in_force, probes=(probe,))
    assert policies.sync(tmp_path, wanted) is not None


def test_probes_that_a_part_of_the_policy_needs() -> None:
    both = PolicySet(
        parse(
            '#![profile "/a"]\n#[func "f"] fs("/x", read)\n#[func "g" ("libc.so.6")] fs("/x", read)\n'
            '#![profile "/b"]\n#[func "f"] fs("/x", read)\n#[kfunc "h"] fs("/x", read)\n',
            "p.bpfbox",
        )
    )
    numbering = Numbering()
    numbering.extend(both)
    in_a, in_b = Probe(1, 1, "f", "/a"), Probe(1, 2, "f", "/b")
    in_library, in_kernel, jump = Probe(2, 0, "g", "/lib"), Probe(3, 0, "h"), Probe(0, 0, "longjmp", "/lib")
    everything = (in_a, in_b, in_library, in_kernel, jump)
    assert set(kept(everything, both, numbering)) == set(everything)
    a, b = (PolicySet((profile,)) for profile in both.profiles)
    assert set(kept(everything, a, numbering)) == {in_a, in_library, jump}
    assert set(kept(everything, b, numbering)) == {in_b, in_kernel, jump}
    only_kernel = PolicySet((replace(b.profiles[0], rules=b.profiles[0].rules[1:]),))
    assert kept(everything, only_kernel, numbering) == (in_kernel,)
    assert len({probe.pin() for probe in everything}) == len(everything)
