# SPDX-License-Identifier: Apache-2.0
"""Escaping of what a process chose (comm, pcomm, filename): it forges no line, no key and no terminal sequence.

Percent encoding, as in URLs: `%` and two hexadecimal digits stand for one byte; every other character for its UTF-8
bytes. `urllib.parse.unquote_to_bytes()`, or what any other language has for URLs, gives back the exact bytes.

Encoded are: `%`; control characters (C0, DEL, C1: newlines and terminal escapes among them); whatever Unicode does not
count as printable (bidirectional overrides, zero-width and other format characters, separators, private use, unassigned
characters); bytes that are not UTF-8. In text also what delimits there: space, `"`, `=`, `\\`. JSON quotes the latter.
"""

import string

_DELIMITERS = ' "=\\'
_PRINTABLE = (string.ascii_letters + string.digits + string.punctuation + " ").replace("%", "").encode()
_PLAIN = _PRINTABLE.translate(None, _DELIMITERS.encode())
_HEX = [f"%{byte:02X}" for byte in range(256)]


def escape(value: bytes) -> str:
    """For a line of text: one word, without quotes, `=` or a backslash."""
    if not value.translate(None, _PLAIN):
        return value.decode("ascii")
    return _escaped(value, _DELIMITERS)


def escape_json(value: bytes) -> str:
    """A JSON string, with its quotes; spaces and other delimiters of text stay readable in it."""
    if not value.translate(None, _PLAIN):
        return f'"{value.decode("ascii")}"'
    return quote_json(_escaped(value, ""))


def quote_json(text: str) -> str:
    """A JSON string of text that has no control characters; the json module is not worth its start-up time here."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quote(text: str) -> str:
    """A quoted value of logfmt on one line: `"` and `\\` escaped by a backslash, unprintable characters as %XX."""
    return quote_json(_encode(text, ""))


def _escaped(value: bytes, delimiters: str) -> str:
    # surrogateescape maps each byte that is not UTF-8 to a lone surrogate, which is not printable.
    return _encode(value.decode("utf-8", "surrogateescape"), delimiters + "%")


def _encode(text: str, unwanted: str) -> str:
    parts = []
    for character in text:
        if character.isprintable() and character not in unwanted:
            parts.append(character)
        else:
            parts.extend(_HEX[byte] for byte in _bytes(character))
    return "".join(parts)


def _bytes(character: str) -> bytes:
    try:
        return character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return character.encode("utf-8", "surrogatepass")
