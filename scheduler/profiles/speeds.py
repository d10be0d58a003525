"""How fast a job runs on an accelerator, from the best that is known: measured, modelled, or the class table."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from scheduler.model.accelerators import Accelerator, Catalog, Provenance, WorkClass
from scheduler.model.jobs import Job, JobType, Measured
from scheduler.model.rates import Cell, Metric, Stack
from scheduler.model.transformers import Transformer, find_transformer
from scheduler.profiles.modelled import Modelled, replica_rate, store_in, training_rates, transformer_named
from scheduler.profiles.observed import COMMON
from scheduler.profiles.table import Rate, rate_of

__all__ = ["Speeds"]

RUNTIMES: Final = {"cuda": "nvidia", "cann": "huawei", "dtk": "hygon"}
"""Whose chips a runtime drives."""

LEAST_REACH = 0.05
"""Log units on each side that a ratio of two modelled rates is uncertain by at least."""


class Speeds:
    """Of one job on one accelerator, for the counts of devices that are asked for.

    The user's own measurement on as many devices goes first. Another one of theirs is carried over by the ratio of two
    modelled rates, or of the class table. Without any, the fitted models tell, corrected by what operators measured of
    the cell; and last the class table.
    """

    def __init__(self, job: Job, accelerator: Accelerator, counts: Sequence[int], catalog: Catalog) -> None:
        self._job = job
        self._accelerator = accelerator
        self._catalog = catalog
        self._found = self._modelled(accelerator, counts)

    def rate(self, count: int) -> Rate | None:
        """Work units a second of the job, requests a second of one replica of a service. None: nothing is known."""
        work, modelled = self._job.work, self.modelled(count)
        if work.measured:
            carried = self._carried(count, modelled)
            return carried or rate_of(work, self._accelerator, count, self._catalog)
        if self._job.service is not None:
            served = replica_rate(self._job.service, work, self._accelerator, count, self._catalog)
            return self._served(served) if served else rate_of(work, self._accelerator, count, self._catalog)
        return modelled or rate_of(work, self._accelerator, count, self._catalog)

    def modelled(self, count: int) -> Rate | None:
        """By the model of training alone and what was measured of its cell."""
        found = self._found.get(count)
        return None if found is None else self._in_cell(found)

    def layout(self, count: int) -> str:
        """In words, or empty where no model of speed tells one."""
        found = self._found.get(count)
        return found.layout if found else ""

    def _modelled(self, accelerator: Accelerator, counts: Sequence[int]) -> Mapping[int, Modelled]:
        work = self._job.work
        trains = self._job.type is JobType.TRAINING and work.work_class is WorkClass.DENSE_TRAINING
        return training_rates(work, accelerator, counts, self._catalog) if trains and len(self._job.roles) == 1 else {}

    def _in_cell(self, found: Modelled) -> Rate:
        """The prediction of training as the operator's figures of the cell correct it."""
        transformer = transformer_named(self._job.work, self._catalog)
        return self._corrected(found, transformer, Metric.TOKENS, found.tokens_per_unit)

    def _served(self, found: Modelled) -> Rate:
        """Requests a second as measured requests correct them, else measured output tokens."""
        service = self._job.service
        model = find_transformer(self._catalog.models, service.model) if service else None
        corrected = self._corrected(found, model, Metric.REQUESTS, 1.0)
        if corrected != found.rate:
            return corrected
        return self._corrected(found, model, Metric.OUTPUT_TOKENS, found.tokens_per_unit)

    def _corrected(self, found: Modelled, model: Transformer | None, metric: Metric, per_unit: float) -> Rate:
        """`per_unit`: how many of what the metric counts make one of the job's units."""
        if not self._catalog.rates or model is None:
            return found.rate
        cell = Cell(
            family=model.name,
            accelerator=self._accelerator.name,
            precision=self._job.work.numerics.precision or "bf16",
            layout=found.layout,
            metric=metric,
            stack=self._stack(),
        )
        counted = found.rate.times(per_unit, per_unit, per_unit, found.rate.provenance)
        known = store_in(self._catalog).rate(cell, counted)
        if known is None or known == counted:
            return found.rate
        return known.times(1 / per_unit, 1 / per_unit, 1 / per_unit, known.provenance)

    def _stack(self) -> Stack:
        """The software there: an option may bring an image of its own, and CUDA is none of a chip that has CANN."""
        role, engine = self._job.roles[0], self._job.work.engine
        own = next((o.image for o in role.resources.options if o.accelerator == self._accelerator.name), "")
        fits = RUNTIMES.get(engine.runtime.split(" ")[0].lower(), self._accelerator.vendor) == self._accelerator.vendor
        return Stack(framework=str(engine), runtime=engine.runtime if fits else "", image=own or role.image)

    def _carried(self, count: int, here: Rate | None) -> Rate | None:
        """A measurement on other devices times the ratio of the modelled rates here and there. None where the class
        table has to do, or where it was measured on just these devices."""
        name = self._accelerator.name
        if here is None or any((m.accelerator, m.count) == (name, count) for m in self._job.work.measured):
            return None
        near = min(self._job.work.measured, key=lambda m: (m.accelerator != name, abs(math.log(m.count / count))))
        there = self._there(near)
        if there is None:
            return None
        value = near.rate * here.value / there.value
        common = 1 - COMMON if near.accelerator != name else (1 - COMMON) ** 2
        reach = max(LEAST_REACH, math.hypot(_reach(here), _reach(there)) * math.sqrt(common))
        return Rate(value, value * math.exp(-reach), value * math.exp(reach), Provenance.DERIVED)

    def _there(self, near: Measured) -> Rate | None:
        chip = self._catalog.get(near.accelerator)
        found = self._modelled(chip, (near.count,)).get(near.count) if chip else None
        return found.rate if found else None


def _reach(rate: Rate) -> float:
    return math.log(rate.high / rate.low) / 2
