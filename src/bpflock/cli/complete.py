# SPDX-License-Identifier: Apache-2.0
"""What the shell completes: names of locks, profiles and operations."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from bpflock.config.options import Kind, Option
from bpflock.locks import LOCKS
from bpflock.locks.model import LOCK_PROFILES, Lock, Sessions

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def locks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Locks that the line does not name yet."""
    named = ctx.params.get(param.name or "") or ()
    return [
        CompletionItem(name, help=lock.summary)
        for name, lock in LOCKS.items()
        if name.startswith(incomplete) and name not in named
    ]


def profiles(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Profiles of the lock that the line names."""
    lock = _named(ctx)
    return _words(lock.profiles if lock else LOCK_PROFILES, incomplete)


def operations(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Operations and groups of the lock that the line names."""
    lock = _named(ctx)
    return _list([*lock.names(), *lock.groups] if lock else (), incomplete)


def sessions(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Which sessions."""
    return _words(Sessions, incomplete)


def for_option(option: Option) -> Completer | None:
    """The completer of an option of the configuration."""
    if option.kind is Kind.OPERATIONS:
        return lambda _ctx, _param, incomplete: _list(option.choices, incomplete)
    if option.kind is Kind.CHOICE or option.choices:
        return lambda _ctx, _param, incomplete: _words(option.choices, incomplete)
    if option.kind is Kind.SWITCH:
        return lambda _ctx, _param, incomplete: _words(("yes", "no"), incomplete)
    if option.metavar in ("DIR", "FILE"):
        kind = option.metavar.lower()
        return lambda _ctx, _param, incomplete: [CompletionItem(incomplete, type=kind)]
    return None


def _named(ctx: click.Context) -> Lock | None:
    # While the last word is a flag that lacks its value, click leaves the arguments where they were.
    words = [str(ctx.params.get("name")), *ctx.args]
    return next((LOCKS[word] for word in words if word in LOCKS), None)


def _words(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _list(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """The last member of a comma-separated list; the shell replaces the whole of it."""
    before, comma, last = incomplete.rpartition(",")
    there = before.split(",")
    return [CompletionItem(before + comma + word) for word in words if word.startswith(last) and word not in there]
