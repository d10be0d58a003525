"""Models and devices that the tests of serving share."""

import numpy as np

from scheduler.config import load_catalog, load_models
from scheduler.model.transformers import find_transformer
from scheduler.profiles.serving import Demand, Split, served, together
from scheduler.profiles.storage import storage_of

CATALOG = load_catalog()
MODELS = load_models()


def model(name):
    found = find_transformer(MODELS, name)
    assert found is not None, name
    return found


def replica(name="llama-3.1-8b", chip="h100", weights="bf16", **split):
    return served(model(name), CATALOG.get(chip), storage_of(model(name), weights), Split(**split))


def fleet(settings):
    """Columns of replicas (name, chip, weights, split)."""
    return together([replica(name, chip, weights, **split) for name, chip, weights, split in settings])


def demand(batch=8.0, prompt=1000.0, output=500.0, **more):
    columns = {"batch": batch, "prompt": prompt, "output": output}
    return Demand(**{name: np.asarray(value, dtype=float) for name, value in columns.items()}, **more)
