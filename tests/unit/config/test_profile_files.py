"""Profile files say what is known of rates, read back as they were written, and are refused with place and remedy."""

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from numpy.typing import NDArray

from scheduler.config import (
    dump_yaml,
    encode_profiles,
    load_catalog,
    load_fit,
    load_profiles,
    plain_fit,
    rates_as_csv,
    read_text,
)
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Provenance
from scheduler.model.rates import Cell, CellRate, Metric, Stack

CATALOG = load_catalog()
CELL = Cell(family="llama", accelerator="h200", precision="fp8", layout="tp=2", metric=Metric.TPOT)
RATE = CellRate(cell=CELL, value=7.5, low=7.0, high=8.0, runs=3, provenance=Provenance.MEASURED)

words = st.from_regex(r"[a-j][-a-j0-9.]{0,11}", fullmatch=True)
stacks = st.builds(Stack, driver=words | st.just(""), runtime=words | st.just(""), framework=words, image=st.just(""))
cells = st.builds(
    Cell,
    family=words,
    accelerator=st.sampled_from(CATALOG.names),
    precision=st.sampled_from(["", "bf16", "fp8"]),
    layout=st.sampled_from(["", "tp=8", "tp=4,pp=2"]),
    metric=st.sampled_from(Metric),
    stack=stacks,
)
rates = st.builds(
    lambda cell, value, below, above, runs, version: CellRate(
        cell=cell, value=value, low=value * below, high=value * above, runs=runs, version=version,
        provenance=Provenance.MEASURED,
    ),
    cells, st.floats(1.0, 9e4), st.floats(0.5, 1.0), st.floats(1.0, 1.1), st.integers(0, 99), st.integers(1, 9),
)  # fmt: skip


class Coefficients(Struct, frozen=True):
    levels: NDArray[np.float64]
    names: tuple[str, ...]
    rows: dict[str, int]


def written(tmp_path, document, name="p.yaml"):
    (tmp_path / name).write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    return tmp_path / name


def entry(**values):
    rate = {
        "family": "m",
        "accelerator": "h200",
        "metric": "tpot_ms",
        "value": 7.5,
        "low": 7,
        "high": 8,
        "from": "measured",
    }
    return {"schema": "dualtrack/v1", "kind": "profiles", "rates": [rate | values]}


@given(st.lists(rates, min_size=1, max_size=5, unique_by=lambda rate: rate.cell))
def test_rates_read_back_as_they_were_written_in_yaml_and_in_csv(tmp_path_factory, known):
    folder = tmp_path_factory.mktemp("p")
    (folder / "p.yaml").write_text(dump_yaml(encode_profiles(known)))
    (folder / "p.csv").write_text(rates_as_csv(known))
    assert load_profiles(folder / "p.yaml", CATALOG).rates == tuple(known)
    assert load_profiles(folder / "p.csv", CATALOG).rates == tuple(known)


def test_a_fit_reads_back_with_its_arrays(tmp_path):
    fit = Coefficients(np.array([0.5, 1.0]), ("a", "b"), {"h200": 3})
    path = written(tmp_path, encode_profiles((), {"training": plain_fit(fit)}))
    found = load_fit(path, "training", Coefficients)
    assert found.levels.tolist() == [0.5, 1.0] and (found.names, found.rows) == (fit.names, fit.rows)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        (
            {"levels": [1.0], "names": ["a"], "rows": {"h200": "many"}},
            "p.yaml:9: training.rows: expected `int`, got `str`",
        ),
        ({"levels": [1.0], "names": "a", "rows": {}}, "p.yaml:6: training.names: expected `array`"),
        ({"names": ["a"], "rows": {}}, "missing required field `levels`"),
        ({"levels": "x", "names": ["a"], "rows": {}}, "a list of numbers is expected"),
    ],
)
def test_a_fit_that_does_not_fit_is_refused_with_its_place(tmp_path, section, complaint):
    with pytest.raises(ConfigError) as refused:
        load_fit(written(tmp_path, encode_profiles((), {"training": section})), "training", Coefficients)
    assert complaint in str(refused.value)


def test_a_fit_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="field `serving` is missing"):
        load_fit(written(tmp_path, encode_profiles([RATE])), "serving", Coefficients)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"metric": "tpot"}, "did you mean `tpot_ms`"),
        ({"precision": "fp9"}, "`fp9` is not allowed"),
        ({"layout": "tensor=8"}, "`tensor=8` in a layout; write such as tp=8"),
        ({"accelerator": "h2000"}, "unknown accelerator `h2000`; did you mean `h200`"),
        ({"low": 7.6}, "7.5 lies outside its band [7.6, 8]"),
        ({"value": -1}, "out of range"),
        ({"value": 0.0075, "low": 0.007}, "out of range"),
        ({"noise": 0}, "out of range"),
        ({"from": "guessed"}, "is not allowed"),
        ({"relative": True, "value": 5000, "high": 6000}, "out of range"),
        ({"stack": {"cuda": "12"}}, "unknown field `cuda`"),
        ({"speed": 3}, "unknown field `speed`"),
    ],
)
def test_a_rate_that_cannot_be_true_is_refused_with_its_line(tmp_path, values, complaint):
    with pytest.raises(ConfigError) as refused:
        load_profiles(written(tmp_path, entry(**values)), CATALOG)
    assert complaint in str(refused.value)
    assert refused.value.line > 3 and refused.value.path.startswith("rates[0]")


def test_a_cell_may_be_given_once(tmp_path):
    document = entry()
    document["rates"] *= 2
    with pytest.raises(ConfigError, match=r"rates\[1\]: the cell is given twice"):
        load_profiles(written(tmp_path, dump_yaml(document)), CATALOG)


def test_a_file_without_anything_in_it_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="neither rates nor coefficients"):
        load_profiles(written(tmp_path, {"schema": "dualtrack/v1", "kind": "profiles"}))


def test_a_table_of_rates_is_refused_with_the_line_of_the_row(tmp_path):
    table = rates_as_csv([RATE]).replace("fp8", "fp9")
    with pytest.raises(ConfigError, match=r"p\.csv:2: precision: `fp9` is not allowed"):
        load_profiles(written(tmp_path, table, "p.csv"), CATALOG)
    with pytest.raises(ConfigError, match=r"p\.csv:1: unknown column 'speed'"):
        load_profiles(
            written(tmp_path, "family,accelerator,metric,value,low,high,from,speed\n" + "a," * 7 + "1", "p.csv")
        )


def test_any_file_of_the_kind_is_known_as_such():
    kind, found = read_text(dump_yaml(encode_profiles([RATE])), "p.yaml", CATALOG)
    assert (kind, found.rates) == ("profiles", (RATE,))
