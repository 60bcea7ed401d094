# SPDX-License-Identifier: Apache-2.0
"""One target under atheris: `python -m tests.fuzz.harness TARGET CORPUS [libFuzzer's options]`.

The directory CORPUS is made of the seeds if it is not there, and keeps the inputs that reach something new. If it is
a file, that input alone is run.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bpflock", "lark"]):
    from tests.fuzz import language, readers

LANGUAGE = "language"
TARGETS = (LANGUAGE, *readers.TARGETS)


def _language(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    language.check(text)


def main() -> None:
    """Ends the process: 0 after the time or the number of runs that is asked for."""
    target, directory = sys.argv[1], Path(sys.argv[2])
    options = sys.argv[2:]
    if not directory.is_file():
        seeds = language.corpus() if target == LANGUAGE else readers.seeds()[target]
        directory.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (directory / f"seed-{number:02}").write_bytes(seed)
    if target == LANGUAGE and directory.is_dir():
        known = directory.with_name(f"{target}.dict")
        known.write_text("".join(f'"{_escaped(word)}"\n' for word in language.words()))
        options.append(f"-dict={known}")
    test = _language if target == LANGUAGE else readers.TARGETS[target]
    atheris.Setup([sys.argv[0], *options], test)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(c if c.isalnum() else f"\\x{ord(c):02x}" for c in word)


if __name__ == "__main__":
    main()
