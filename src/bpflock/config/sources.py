# SPDX-License-Identifier: Apache-2.0
"""The places that options come from. Each function returns what one of them sets, by option, every value checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bpflock.config.files import list_directory, read_text
from bpflock.config.options import ENVIRONMENT_PREFIX, OPTIONS, Kind, Option, Reach, find_option, lock_options
from bpflock.errors import UsageError, explained, nearest
from bpflock.locks import LOCKS

if TYPE_CHECKING:
    from bpflock.config.yamlfile import Item

# Not options. Kubernetes sets the first ones for a service called bpflock, in every pod of its namespace; the rest
# belong to bpflock's own build and tests.
_NOT_OPTIONS = re.compile(
    r"BPFLOCK_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?|VM|CACHE|BOOT|TEST_\w+)"
)

_PROGRAM_KEYS = ("name", "command", "priority", "description", "doc", "args")


@dataclass(frozen=True)
class Given:
    """A value that a source gives to an option. `origin` is for `config show`, `where` begins an error."""

    option: Option
    word: str
    origin: str
    where: str

    def check(self) -> None:
        try:
            self.option.check(self.word)
        except Exception as error:  # a word may be anything
            found = explained(error)
            raise UsageError(f"{self.where}: {found.message}", hint=found.hint) from None


# What one source sets, by the option's name.
Layer = dict[str, Given]


def from_flags(flags: Mapping[str, str], spelling: Mapping[str, str]) -> Layer:
    """What the command line sets: values by option. `spelling` has the flags that are not called like the option."""
    layer: Layer = {}
    for name, word in flags.items():
        option = find_option(name)
        layer[name] = Given(option, word, "command line", spelling.get(name, option.flag))
        layer[name].check()
    return layer


def from_environment(environ: Mapping[str, str]) -> Layer:
    """What variables `BPFLOCK_*` set. An empty one sets nothing: that is how compose files unset a variable."""
    by_variable = {option.variable: option for option in OPTIONS.values()}
    layer: Layer = {}
    for variable, word in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or _NOT_OPTIONS.fullmatch(variable):
            continue
        option = by_variable.get(variable)
        if option is None:
            # Not just a note: a misspelt variable would leave the machine unlocked.
            raise UsageError(f"environment {variable}: there is no such option", hint=nearest(variable, by_variable))
        if not word.strip():
            continue
        layer[option.name] = Given(option, word, f"environment {variable}", f"environment {variable}")
        layer[option.name].check()
    return layer


def from_directory(directory: Path) -> Layer:
    """What a directory with a file for each option sets. An empty file sets nothing."""
    layer: Layer = {}
    for path in list_directory(directory):
        option = _in_file(path.name, str(path))
        text = read_text(path)
        if text is None or not text.strip():
            continue
        if option.name in layer:
            raise UsageError(f"{path}: {option.name} is also set by {layer[option.name].origin}")
        layer[option.name] = Given(option, text.strip(), str(path), str(path))
        layer[option.name].check()
    return layer


def from_yaml(path: Path) -> Layer:
    """What bpflock.yaml sets: a mapping of options to values; a list of operations may be a YAML list."""
    root = _read_yaml(path)
    if root is None:
        return {}
    layer: Layer = {}
    for key, item in root.fields().items():
        option = _in_file(key, item.key_where)
        if option.name in layer:
            raise UsageError(f"{item.key_where}: {option.name} is also set in {layer[option.name].origin}")
        words = item.items() if option.kind in (Kind.OPERATIONS, Kind.PATHS) and item.is_list else [item]
        for word in words:
            Given(option, word.text(option.expected), item.origin, word.where).check()
        layer[option.name] = Given(option, ",".join(word.text() for word in words), item.origin, item.where)
    return layer


def from_programs(directory: Path) -> tuple[Layer, list[str]]:
    """What the YAML files of bpf.d set, and the files and keys in it that are ignored."""
    layer: Layer = {}
    ignored: list[str] = []
    configured: dict[str, str] = {}
    for path in list_directory(directory):
        if path.suffix not in (".yaml", ".yml"):
            ignored.append(str(path))
            continue
        for program in _programs(path):
            fields = program.fields(_PROGRAM_KEYS)
            if "priority" in fields:
                ignored.append(f"priority ({fields['priority'].origin})")
            name = _program_name(program, fields)
            if name in configured:
                raise program.error(f"{name} is configured twice, before in {configured[name]}")
            configured[name] = program.origin
            layer.update(_arguments(program, name, fields))
    return layer, ignored


def _read_yaml(path: Path) -> Item | None:
    text = read_text(path)
    if text is None or not text.strip():
        return None
    # Most machines have no YAML file, and then PyYAML is not imported.
    from bpflock.config.yamlfile import parse_yaml

    return parse_yaml(path, text)


def _in_file(name: str, where: str) -> Option:
    try:
        option = find_option(name)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None
    if option.reach is Reach.NOT_IN_FILES:
        raise UsageError(
            f"{where}: {option.name} cannot be set in a file", hint=f"use {option.flag} or {option.variable}"
        )
    return option


def _programs(path: Path) -> list[Item]:
    root = _read_yaml(path)
    if root is None:
        return []
    fields = root.fields(("bpfmetaver", "kind", "bpfmetadata", "bpfspec"))
    for key, value in (("bpfmetaver", "v1"), ("kind", "bpf")):
        if key not in fields:
            raise root.error(f"the key '{key}' is missing", hint=f"add the line: {key}: {value}")
        if fields[key].text() != value:
            raise fields[key].error(f"expected '{value}', not '{fields[key].text()}'")
    if "bpfmetadata" in fields:
        for item in fields["bpfmetadata"].fields(("name",)).values():
            item.text()
    if "bpfspec" not in fields:
        raise root.error("the key 'bpfspec' is missing", hint="it holds the list 'programs'")
    spec = fields["bpfspec"].fields(("programs",))
    if "programs" not in spec:
        raise fields["bpfspec"].error("the key 'programs' is missing")
    return spec["programs"].items("a list of programs")


def _program_name(program: Item, fields: Mapping[str, Item]) -> str:
    if "name" not in fields:
        raise program.error("the key 'name' is missing", hint=f"one of {', '.join(LOCKS)}")
    name = fields["name"].text()
    if name not in LOCKS:
        raise fields["name"].error(f"there is no lock '{name}'", hint=nearest(name, LOCKS))
    if "command" in fields and fields["command"].text() != name:
        raise fields["command"].error(f"expected '{name}' as in name, not '{fields['command'].text()}'")
    return name


def _arguments(program: Item, name: str, fields: Mapping[str, Item]) -> Layer:
    if "args" not in fields:
        raise program.error(f"the key 'args' of {name} is missing", hint="for example: args: [--profile=baseline]")
    known = {f"--{option.part}": option for option in lock_options(LOCKS[name])}
    if LOCKS[name].is_tracer:
        known |= {option.flag: option for option in lock_options(LOCKS[name])}
    layer: Layer = {}
    for item in fields["args"].items("a list such as [--profile=baseline]"):
        flag, equals, word = (part.strip() for part in item.text("text such as --profile=baseline").partition("="))
        if flag not in known:
            raise item.error(f"{name} takes no argument '{flag}'", hint=nearest(flag, known))
        if not equals:
            raise item.error(f"{flag} has no value", hint=f"for example: {flag}=VALUE")
        option = known[flag]
        if option.name in layer:
            raise item.error(f"{flag} was given before, in {layer[option.name].origin}")
        layer[option.name] = Given(option, word, item.origin, item.where)
        layer[option.name].check()
    return layer
