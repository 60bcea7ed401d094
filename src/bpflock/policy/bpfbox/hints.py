# SPDX-License-Identifier: Apache-2.0
"""Hints for what was written in another way of thinking: AppArmor's letters, protocols in the place of families."""

import re
from collections.abc import Iterable

from bpflock.policy.bpfbox import names

_EXEC = r"(?:pi|Pi|pu|PU|ci|Ci|cu|CU|p|P|c|C|u|U|i)?x"
_LETTERS = re.compile(rf"(?:[rwamlk]|{_EXEC})+")
_LETTER = re.compile(rf"{_EXEC}|.")
_MEANING = {
    "r": ("read",),
    "w": ("write", "rm", "setattr"),
    "a": ("append",),
    "m": ("exec",),
    "l": ("link",),
    "k": (),
}
# What a socket of a protocol is, by the type that the family takes.
_TYPES = {
    "tcp": "stream",
    "mptcp": "stream",
    "udp": "dgram",
    "udplite": "dgram",
    "sctp": "stream|seqpacket",
    "dccp": "dccp",
}


def of_apparmor(word: str) -> str:
    """What AppArmor's letters are in this language; nothing if the word has others, or one twice."""
    if not _LETTERS.fullmatch(word):
        return ""
    letters = _LETTER.findall(word)
    if len(set(letters)) < len(letters):
        return ""
    rights: dict[str, None] = {}
    notes = []
    transition = False
    for letter in letters:
        if letter in _MEANING:
            rights.update(dict.fromkeys(_MEANING[letter]))
            continue
        rights["exec"] = None
        kind = letter[:-1].lower()
        if kind == "u":
            return f"AppArmor's '{word}': a program that is executed cannot leave the confinement yet"
        transition |= kind[:1] in ("p", "c")
        if kind in ("pu", "cu"):
            notes.append("it stays confined if it has no profile")
    if "k" in letters:
        notes.append("locks need no right")
    said = "|".join(rights)
    if transition:
        said = f"#[transition] … {said}"
    return f"AppArmor's '{word}'" + (f" is {said}" if said else "") + "".join(f"; {note}" for note in notes)


def of_protocol(word: str, others: Iterable[str]) -> str:
    """How a rule is written of which the family is a protocol. `others`: the other words."""
    name = word.lower()
    family = "inet6" if name == "icmpv6" else "inet" if name == "icmp" else "inet|inet6"
    kind = _TYPES.get(name, "raw")
    given = [other for other in others if not _are_types(other)]
    return f"net({', '.join([family, kind, *given, f'protocol={name}'])})"


def _are_types(words: str) -> bool:
    return all(word.lower() in names.TYPES for word in words.split("|"))
