# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

from bpflock.config.model import Config, LockConfig, LogFormat
from bpflock.daemon import plan
from bpflock.daemon.plan import Action, Pinned
from bpflock.locks import LOCKS
from bpflock.locks.model import Profile, Settings

BY_HAND = {"profile": "command line", "block": "default"}
FILE = {"profile": "/etc/bpflock/bpflock.yaml:3"}


def config(**configured: LockConfig) -> Config:
    locks = {
        name: configured.get(name) or LockConfig(Settings(lock.default), {"profile": "default"}, False)
        for name, lock in LOCKS.items()
    }
    somewhere = Path("/x")
    return Config(None, False, False, False, LogFormat.AUTO, 1 << 20, somewhere, somewhere, somewhere, locks)


def wants(profile: Profile, block: tuple[str, ...] = (), allow: tuple[str, ...] = ()) -> LockConfig:
    return LockConfig(Settings(profile, block, allow), FILE, True)


def summary(steps: list[plan.Step]) -> dict[str, tuple[Action, Profile]]:
    return {step.lock.name: (step.action, step.settings.profile) for step in steps}


def test_at_start_every_lock_is_applied_in_order_and_a_tracer_only_if_it_is_to_trace() -> None:
    steps = plan.at_start(config(kmodlock=wants(Profile.BASELINE)), {})
    assert [step.lock.name for step in steps] == [
        name for name, lock in LOCKS.items() if lock.default is not Profile.NONE
    ]
    assert summary(steps)["kimglock"] == (Action.APPLY, Profile.ALLOW)
    assert summary(steps)["kmodlock"] == (Action.APPLY, Profile.BASELINE)
    assert "execsnoop" in summary(plan.at_start(config(execsnoop=wants(Profile.ALL)), {}))


def test_at_start_nothing_weakens_what_was_set_by_hand_unless_it_is_configured() -> None:
    pinned = {"kimglock": Pinned(Settings(Profile.RESTRICTED, ("msr",)), BY_HAND)}
    [step] = [step for step in plan.at_start(config(), pinned) if step.lock.name == "kimglock"]
    assert (step.action, step.settings, step.origins) == (Action.KEEP, pinned["kimglock"].settings, BY_HAND)
    configured = config(kimglock=wants(Profile.BASELINE))
    assert summary(plan.at_start(configured, pinned))["kimglock"] == (Action.APPLY, Profile.BASELINE)


def test_at_start_what_an_earlier_configuration_asked_for_goes_to_the_default() -> None:
    pinned = {name: Pinned(Settings(Profile.ALL), FILE) for name in ("kimglock", "execsnoop")}
    steps = summary(plan.at_start(config(), pinned))
    assert steps["kimglock"] == (Action.APPLY, Profile.ALLOW)
    assert steps["execsnoop"] == (Action.APPLY, Profile.NONE)  # which takes it out


def test_reload_applies_what_is_configured_and_resets_what_no_longer_is() -> None:
    before = config(kimglock=wants(Profile.BASELINE), execsnoop=wants(Profile.ALL), kmodlock=wants(Profile.BASELINE))
    after = config(kmodlock=wants(Profile.BASELINE, block=("load_module",)))
    steps = summary(plan.at_reload(after, before, set(LOCKS)))
    assert steps == {
        "kimglock": (Action.APPLY, Profile.ALLOW),
        "kmodlock": (Action.APPLY, Profile.BASELINE),
        "execsnoop": (Action.APPLY, Profile.NONE),
    }


def test_reload_leaves_alone_what_no_configuration_ever_named() -> None:
    assert plan.at_reload(config(), config(), set(LOCKS)) == []
    assert plan.at_reload(config(), config(execsnoop=wants(Profile.ALL)), set()) == []


def test_description() -> None:
    settings = Settings(Profile.BASELINE, ("kexec", "msr"))
    origins = {"profile": "/etc/x.yaml:3", "block": "command line", "allow": "default"}
    assert plan.describe(settings, origins) == (
        "profile=baseline block=kexec,msr (profile: /etc/x.yaml:3; block: command line)"
    )
    assert plan.describe(replace(settings, block=()), {}) == "profile=baseline"
