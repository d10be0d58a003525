"""Jobs from a command line: `submit --accelerator h200:8,h20-96:32 --time 12h -- python train.py`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from scheduler.config.job import decode_job
from scheduler.config.refusal import quoted, refusal
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Catalog
from scheduler.model.jobs import Job

__all__ = ["inline"]

FLAGS: Final = {
    "resources": "--accelerator",
    "time_limit": "--time",
    "name": "--name",
    "tenant": "--tenant",
    "type": "--type",
    "class": "--class",
    "priority": "--priority",
    "image": "--image",
    "workdir": "--workdir",
    "env": "--env",
    "labels": "--label",
}
"""The field of the job file that each flag fills, to name the flag in errors."""


def inline(
    entrypoint: Sequence[str],
    *,
    accelerator: str,
    time: str = "",
    name: str = "",
    tenant: str = "",
    type: str = "training",
    job_class: str = "",
    priority: int | None = None,
    image: str = "",
    workdir: str = "",
    env: Sequence[str] = (),
    labels: Sequence[str] = (),
    catalog: Catalog | None = None,
) -> Job:
    """A job of one role. `accelerator` is `NAME:COUNT[/COUNT...]` joined by commas, `env` and `labels` are `KEY=VALUE`.

    A job without a name is called after its program. Errors name the flag instead of a file.
    """
    if not entrypoint:
        raise refusal("no command is given", "write it after `--`: -- python train.py")
    values: dict[str, Any] = {
        "type": type,
        "name": name or _named_after(entrypoint),
        "entrypoint": list(entrypoint),
        "resources": {"options": _options(accelerator)},
        "env": _pairs(env, "--env"),
        "labels": _pairs(labels, "--label"),
    }
    given = {"tenant": tenant, "class": job_class, "image": image, "workdir": workdir, "time_limit": time}
    values |= {key: value for key, value in given.items() if value}
    if priority is not None:
        values["priority"] = priority
    try:
        return decode_job(values, "", catalog)
    except ConfigError as error:
        field = re.split(r"[.\[]", error.path)[0]
        raise refusal(error.problem, error.remedy, path=FLAGS.get(field, error.path)) from None


def _options(text: str) -> list[Mapping[str, object]]:
    options: list[Mapping[str, object]] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([^:\s]+):([0-9]{1,9}(?:/[0-9]{1,9})*)\s*", part)
        if found is None:
            remedy = "write NAME:COUNT, several joined by commas: h200:8,h20-96:32/64"
            raise refusal(f"{quoted(part)} is not an accelerator with a count", remedy, path="--accelerator")
        counts = [int(count) for count in found[2].split("/")]
        options.append({"accelerator": found[1], "count": counts[0] if len(counts) == 1 else counts})
    return options


def _pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    made: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise refusal(f"{quoted(text)} is not KEY=VALUE", path=flag)
        if key in made:
            raise refusal(f"{quoted(key)} is given twice", path=flag)
        made[key] = value
    return made


def _named_after(entrypoint: Sequence[str]) -> str:
    """The script that an interpreter runs, else the program: `python src/train.py` is `train`."""
    scripts = [word for word in entrypoint if PurePath(word).suffix in (".py", ".sh") and not word.startswith("-")]
    stem = PurePath((scripts or entrypoint)[0]).stem.lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:63].strip("-") or "job"
