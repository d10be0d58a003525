"""Texts made to break the reader: `python -m tests.fuzz.yaml_fuzz --count 20000 --seed 1`.

Half of them come from a grammar (YAML with everything that we refuse), half are mutations of files that ship. Each is
read as a file of the kind that it says it is. Only ConfigError may escape; its message must be one short line. Prints
count, seed, what was accepted, the slowest input, and the peak of memory.
"""

import argparse
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from scheduler.config import decode_job, load_catalog, parse_jobs, read_text
from scheduler.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "cluster_configs"
LONGEST_MESSAGE = 1500

SCALARS = (
    "8", "-1", "0", "8e9", "1e999", "017", "0o17", "0x1f", "no", "yes", "true", "~", "null", "", ".nan", ".inf",
    "12:30", "2026-02-31", "2026-12-24T00:00:00Z", "9" * 30, "9" * 5000, "1.5", "90s", "1h30m", "1m1h", "h200",
    "h20-96", "h2000", "a/b/c", "'", '"', '"\\x1b[2J"', '"\\ud800"', "'it''s'", "|\n   text", ">-\n   text", "\x00",
    "\x1b[0m", "\u202e", "\u2028", "é", "名前", "\U0001f600", "&x 1", "*x", "!!int ''",
    "!!python/object/apply:os.system [x]", "!!timestamp x", "!!float x", "! x", "%", "@", "`", "- 1", "? x", ": x",
    "#", "x: y", "{", "[", "}", "]", ",", "---", "...", "\t", "x" * 300, "<<",
)  # fmt: skip
KEYS = (
    "schema", "kind", "type", "name", "tenant", "class", "priority", "entrypoint", "image", "workdir", "env",
    "secrets", "mounts", "workload", "resources", "options", "accelerator", "count", "after_wait", "roles", "array",
    "range", "service", "moves", "checkpoint", "path", "every", "retries", "limit", "on", "after", "job",
    "deadline", "labels", "model", "params", "steps", "tokens", "measured", "rate", "cells", "pools", "nodes",
    "tenants", "parent", "quota", "nominal", "h200", "family:h20", "money", "jobs", "at", "truth", "accelerators",
    "hbm_gib", "value", "LD_PRELOAD", "<<", "x", "", "? [a]", "'a\nb'",
)  # fmt: skip
KINDS = (
    "job",
    "job",
    "job",
    "cluster",
    "tenants",
    "rules",
    "policy",
    "workload",
    "scenario",
    "accelerators",
    "nonsense",
)


def grammar(rng: random.Random, depth: int = 0) -> str:
    """A flow value, mostly well-formed."""
    roll = rng.random()
    if depth > 5 or roll < 0.5:
        return rng.choice(SCALARS)
    inner = [grammar(rng, depth + 1) for _ in range(rng.randrange(4))]
    if roll < 0.7:
        return "[" + ", ".join(inner) + ("]" if rng.random() < 0.97 else "")
    return "{" + ", ".join(f"{rng.choice(KEYS)}: {value}" for value in inner) + ("}" if rng.random() < 0.97 else "")


def document(rng: random.Random) -> str:
    lines = ["schema: dualtrack/v1", f"kind: {rng.choice(KINDS)}"] if rng.random() < 0.8 else []
    lines += [f"{rng.choice(KEYS)}: {grammar(rng)}" for _ in range(rng.randrange(6))]
    return "\n".join(lines) + rng.choice(("\n", "", "\n---\n", "\n...\n"))


def bomb(rng: random.Random) -> str:
    """Depth, width, aliases and long tokens."""
    size = rng.choice((10, 40, 1_000, 20_000))
    return rng.choice((
        "[" * size, "{a: " * size, "- " * size, "? " * size, "[[" + "1, " * size, "&a [*a, *a]", "a: " + "9" * size,
        '"' + "\\u0041" * size, "a: |\n" + " x\n" * size, "x: " + "y" * size,
        "\n".join(f"k{i}: 1" for i in range(size)), "#" * size, "- [" * size, " " * size + "a", "!" * size,
        "--- 1\n" * size, "'" * size, "a: {" + "b: 1, " * size,
    ))  # fmt: skip


def mutated(rng: random.Random, text: str) -> bytes:
    """A shipped file with one change, or a piece of one with a few changes, of bytes, words and lines."""
    whole = len(text) < 4000 and rng.random() < 0.5
    lines = text.splitlines(keepends=True)
    start = rng.randrange(max(1, len(lines) - 40)) if rng.random() < 0.3 else 0
    data = bytearray("".join(lines[start : start + rng.randrange(3, 40)]).encode())
    if whole:
        data = bytearray(text.encode())
    for _ in range(1 if whole else rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        roll = rng.random()
        if roll < 0.3:
            data[at:at] = rng.choice(SCALARS).encode("utf-8", "surrogatepass")
        elif roll < 0.5:
            del data[at : at + rng.randrange(1, 12)]
        elif roll < 0.65:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif roll < 0.8:
            other = rng.randrange(len(data) + 1)
            data[at:at] = data[other : other + rng.randrange(1, 60)]
        else:
            data[at:at] = rng.choice(
                (b": ", b"- ", b"\n", b"  ", b"[", b"}", b"'", b'"', b"&a ", b"*a", b"!!x ", b"\t")
            )
    return bytes(data)


def inputs(count: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    files = [path.read_text() for path in sorted(CONFIGS.rglob("*.yaml"))]
    for _ in range(count):
        roll = rng.random()
        if roll < 0.45:
            yield document(rng).encode("utf-8", "surrogatepass")
        elif roll < 0.5:
            yield bomb(rng).encode()
        else:
            yield mutated(rng, rng.choice(files))


class Outcome(msgspec.Struct):
    """What a run saw: `slowest_s` is of one input read twice, as a file of any kind and as a job."""

    count: int = 0
    accepted: int = 0
    slowest_s: float = 0.0
    slowest: bytes = b""
    peak_rss_mib: float = 0.0
    broken: list[tuple[bytes, str]] = msgspec.field(default_factory=list)


def run(count: int, seed: int) -> Outcome:
    """Read every input. An exception other than ConfigError, or a message that is no short line, is kept as broken."""
    outcome = Outcome()
    catalog = load_catalog()
    for data in inputs(count, seed):
        outcome.count += 1
        began = time.perf_counter()
        for read in (lambda: read_text(data, "f.yaml", catalog), lambda: parse_jobs(data, "f.yaml")):  # noqa: B023
            try:
                read()
                outcome.accepted += 1
            except ConfigError as error:
                text = str(error)
                if len(text) > LONGEST_MESSAGE or not text.isprintable():
                    outcome.broken.append((data, text))
            except Exception as error:
                outcome.broken.append((data, repr(error)))
        spent = time.perf_counter() - began
        if spent > outcome.slowest_s:
            outcome.slowest_s, outcome.slowest = spent, data[:60]
    outcome.peak_rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return outcome


def values(rng: random.Random, depth: int = 0) -> object:
    """Decoded values as a JSON body may hold them, and some that it may not."""
    roll = rng.random()
    if depth > 4 or roll < 0.4:
        return rng.choice(
            (
                None,
                True,
                8,
                -1,
                10**30,
                1.5,
                float("nan"),
                float("inf"),
                "h200",
                "90s",
                "",
                "a\nb",
                "\x1b",
                b"x",
                object(),
                2**70,
            )
        )
    if roll < 0.6:
        return [values(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice((*KEYS, 7, None)): values(rng, depth + 1) for _ in range(rng.randrange(5))}


def run_values(count: int, seed: int) -> Outcome:
    """The same for bodies that are already decoded."""
    outcome = Outcome()
    rng = random.Random(seed)
    for _ in range(count):
        outcome.count += 1
        body = {"type": "batch", "name": "x", rng.choice(KEYS): values(rng)} if rng.random() < 0.7 else values(rng)
        try:
            decode_job(body, "body")
            outcome.accepted += 1
        except ConfigError as error:
            if len(str(error)) > LONGEST_MESSAGE or not str(error).isprintable():
                outcome.broken.append((repr(body).encode(), str(error)))
        except Exception as error:
            outcome.broken.append((repr(body).encode(), repr(error)))
    return outcome


def report(outcome: Outcome, seed: int) -> str:
    return (
        f"{outcome.count} inputs, seed {seed}: {outcome.accepted} readings accepted, {len(outcome.broken)} broken; "
        f"slowest {1000 * outcome.slowest_s:.1f} ms for {outcome.slowest!r}; peak memory {outcome.peak_rss_mib:.0f} MiB"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    outcome = run(asked.count, asked.seed)
    print(report(outcome, asked.seed))
    for data, why in outcome.broken[:20]:
        print(f"  {why[:200]} <- {data[:200]!r}")
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
