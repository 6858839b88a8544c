"""Runs one fuzz target under atheris: `python -m tests.fuzz.run TARGET SECONDS`; `scripts/fuzz` calls it.

What lives here: the corpus on disk, the dictionary, and libFuzzer's options. What must not: the targets (`targets.py`).
The exit code is 0 when nothing was found.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_LENGTH = 2048
"""Bytes of an input: longer ones find nothing that shorter ones do not."""
SLOW = 5
"""Seconds for one input, after which it counts as found: a reader that can be made slow is broken."""
MEMORY = 1024
"""MiB the fuzzer may use."""


def main(arguments: list[str]) -> None:
    import atheris

    # What is to be searched must be imported under atheris' eyes; h11 is the judge, and not searched itself.
    with atheris.instrument_imports(include=["streamlb"]):
        from tests.fuzz.targets import TARGETS
    if len(arguments) != 2 or arguments[0] not in TARGETS or not arguments[1].isdigit():
        sys.exit(f"usage: scripts/fuzz TARGET SECONDS\ntargets: {', '.join(TARGETS)}")
    name, seconds = arguments
    target = TARGETS[name]
    place = ROOT / ".fuzz" / name
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = place / "words"
    words.write_text("".join(f'"{escaped(word)}"\n' for word in target.words))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_LENGTH}",
        f"-timeout={SLOW}",
        f"-rss_limit_mb={MEMORY}",
        f"-dict={words}",
        f"-artifact_prefix={place}/",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


def escaped(word: bytes) -> str:
    """A word as libFuzzer's dictionaries write it."""
    return "".join(f"\\x{octet:02x}" for octet in word)


if __name__ == "__main__":
    main(sys.argv[1:])
