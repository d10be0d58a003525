"""Whatever stands in a file of measurements or profiles, it is read or refused with its place: never a traceback."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.config import load_catalog, load_profiles
from scheduler.config.profiles import CSV_COLUMNS
from scheduler.config.readers import Told, read_measurements
from scheduler.config.readers.own import OWN_COLUMNS
from scheduler.config.readers.profiled import GAVEL_COLUMNS, SIA_COLUMNS
from scheduler.config.readers.published import MLPERF_COLUMNS, PUBLISHED_COLUMNS, SILICON_COLUMNS
from scheduler.errors import ConfigError
from scheduler.model.rates import Metric

CATALOG = load_catalog()
TOLD = Told(accelerator="h200", layout="tp=2")
OWN = (*OWN_COLUMNS, "accelerator", "layout", "precision", "batch", *(metric.value for metric in Metric))
TABLES = (PUBLISHED_COLUMNS, SILICON_COLUMNS, MLPERF_COLUMNS, GAVEL_COLUMNS, SIA_COLUMNS, OWN)
WORDS = (
    "", "1", "8", "0", "-3", "1e99", "nan", "inf", "0.5", "train", "infer", "agg", "success", "bf16", "fp8", "h200",
    "H100-80G", "v100", "dgx", "44", "tokens_per_s_per_device", "tokens/s/device", "mean_tpot", "ms", "tp=2", "tp=0",
    "tp=", "spread", "x" * 300, "\u202e", '"', "LM (batch size 10)", "LM (batch size x)", "step_s", "measured", "true",
)  # fmt: skip
values = st.sampled_from(WORDS) | st.text(max_size=8)
jsons = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
VLLM = (
    "model_id", "request_throughput", "duration", "completed", "total_input_tokens", "total_output_tokens",
    "median_tpot_ms", "median_ttft_ms", "output_throughput", "max_concurrency", "backend", "tp", "accelerator",
)  # fmt: skip
GENAI = (
    "request_throughput", "request_latency", "time_to_first_token", "inter_token_latency", "input_config",
    "output_token_throughput", "input_sequence_length", "output_sequence_length",
)  # fmt: skip


def judged(read):
    try:
        read()
    except ConfigError as error:
        assert error.file and str(error).isprintable()


@pytest.mark.parametrize("columns", TABLES, ids=lambda columns: columns[0])
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_a_table_is_read_or_refused(tmp_path_factory, columns, data):
    rows = data.draw(st.lists(st.lists(values, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=3))
    path = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    path.write_text("\n".join([",".join(columns), *(",".join(row) for row in rows)]), errors="replace")
    judged(lambda: read_measurements(path, CATALOG, TOLD))


@given(text=st.text(max_size=60) | st.binary(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    for name in ("fuzzed.csv", "fuzzed.json"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="replace"))
        judged(lambda path=path: read_measurements(path, CATALOG, TOLD))
        judged(lambda path=path: load_profiles(path.with_suffix(".csv"), CATALOG))


@pytest.mark.parametrize("keys", [VLLM, GENAI], ids=["vllm", "genai-perf"])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_benchmarks_result_is_read_or_refused(tmp_path_factory, keys, data):
    statistics = st.fixed_dictionaries(
        {}, optional={"unit": st.sampled_from(["ms", "s", "x"]), "avg": jsons, "p50": jsons}
    )
    document = {key: data.draw(jsons | statistics) for key in keys}
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_text(json.dumps(document))
    judged(lambda: read_measurements(path, CATALOG, TOLD))


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_table_of_rates_is_read_or_refused(tmp_path_factory, data):
    row = data.draw(st.lists(values, min_size=len(CSV_COLUMNS), max_size=len(CSV_COLUMNS)))
    path = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    path.write_text(",".join(CSV_COLUMNS) + "\n" + ",".join(row), errors="replace")
    judged(lambda: load_profiles(path, CATALOG))
