"""What a job says of its formats and of its engine: what that does to memory, to speed, and to what is known of it."""

import pytest
from msgspec import structs

from scheduler.config import dump_yaml, encode, load_catalog, parse_jobs
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Provenance
from scheduler.model.precisions import SERVED_IN, TRAINED_IN
from scheduler.model.rates import Cell, CellRate, Metric, Stack
from scheduler.profiles.memory import SERVING_BYTES_PER_PARAMETER
from scheduler.profiles.modelled import engine_measured, served_bytes
from scheduler.profiles.options import expand
from scheduler.profiles.speeds import Speeds
from scheduler.profiles.storage import bytes_per_parameter, storage_of

CATALOG = load_catalog()
FLEET = {"h200", "h20-96", "ascend-910b2", "ascend-950pr"}
SMALL = "{ttft_ms_p99: 4000, tpot_ms_p99: 80}"


def chip(name):
    found = CATALOG.get(name)
    assert found is not None
    return found


def served(workload="", model="llama-3.1-70b", more=""):
    text = (
        "schema: dualtrack/v1\nkind: job\ntype: inference\nname: a\nentrypoint: [python, serve.py]\n"
        f"{more}workload: {{class: decode{workload}}}\n"
        f"service: {{model: {model}, objectives: {SMALL}, max_replicas: 4, "
        "load: {requests_per_s: 4, prompt_tokens: 1000, output_tokens: 300}}\n"
    )
    return parse_jobs(text, "job.yaml", CATALOG)[0]


def trained(workload="", more=""):
    text = (
        "schema: dualtrack/v1\nkind: job\ntype: training\nname: a\nentrypoint: [python, train.py]\n"
        f"{more}workload: {{model: {{name: llama-3.1-8b, seq_len: 8192}}, tokens: 1e12, global_batch: 1024"
        f"{workload}}}\n"
    )
    return parse_jobs(text, "job.yaml", CATALOG)[0]


def rate(job, name, count=4, catalog=CATALOG):
    found = Speeds(job, chip(name), (count,), catalog).rate(count)
    assert found is not None
    return found


@pytest.mark.parametrize("name", SERVED_IN)
def test_every_format_that_may_be_served_has_its_bytes(name):
    model = next(m for m in CATALOG.models if m.name == "llama-3.1-8b")
    assert 0.5 < bytes_per_parameter(model, storage_of(model, name)) <= 2.0


def test_smaller_weights_fit_on_fewer_devices():
    least = {
        name: min(o.granule for o in expand(served(f", precision: {name}"), CATALOG, {"h200"}).options)
        for name in ("bf16", "fp8")
    }
    assert least == {"bf16": 2, "fp8": 1}


def test_a_service_that_tells_no_format_is_taken_to_be_in_half_precision():
    assert rate(served(), "h200") == rate(served(", precision: bf16"), "h200")
    assert served_bytes(served(), CATALOG) == pytest.approx(2.0)
    assert served_bytes(trained(), CATALOG) == SERVING_BYTES_PER_PARAMETER


def test_experts_and_cache_may_be_kept_in_formats_of_their_own():
    mixture = served(", precision: fp8, experts_precision: fp4", "deepseek-v3")
    plain = served(", precision: fp8", "deepseek-v3")
    assert served_bytes(mixture, CATALOG) < 0.65 * served_bytes(plain, CATALOG)
    wide, narrow = (served(f", kv_precision: {name}") for name in ("bf16", "fp8"))
    assert rate(narrow, "ascend-910b2").value > rate(wide, "ascend-910b2").value


@pytest.mark.parametrize("name", ["h20-96", "h200", "ascend-950pr"])
def test_a_chip_that_computes_in_eight_bits_fills_prompts_faster_with_them(name):
    """Of two jobs whose weights take a byte, the one whose products may use the chip's FP8."""
    native, dequantised = served(", precision: fp8", "llama-3.1-8b"), served(", precision: w4afp8", "llama-3.1-8b")
    assert chip(name).fp8_tflops is not None
    bare = structs.replace(CATALOG, accelerators=tuple(structs.replace(a, fp8_tflops=None) for a in CATALOG))
    without = Speeds(native, bare.get(name), (1,), bare).rate(1)
    assert rate(native, name, 1).value > without.value
    assert Speeds(dequantised, bare.get(name), (1,), bare).rate(1) == rate(dequantised, name, 1)


def test_a_chip_without_eight_bits_saves_their_bytes_alone():
    """Ascend 910B has no FP8: weights are widened before they are multiplied, so that only reading them is faster."""
    assert chip("ascend-910b2").fp8_tflops is None
    half, small = served(), served(", precision: fp8")
    assert served_bytes(small, CATALOG) < 0.6 * served_bytes(half, CATALOG)
    gain = {name: rate(small, name).value / rate(half, name).value for name in ("ascend-910b2", "h20-96")}
    assert 1 < gain["ascend-910b2"] < gain["h20-96"]
    assert rate(trained(", precision: fp8"), "ascend-910b2", 8) == rate(trained(), "ascend-910b2", 8)


def test_training_in_eight_bits_is_faster_where_the_chip_has_them():
    assert rate(trained(", precision: fp8"), "h200", 8).value > 1.2 * rate(trained(), "h200", 8).value


def test_a_named_engine_has_a_speed_and_a_certainty_of_its_own():
    plain, named = served(), served(", engine: {name: vllm, version: 0.12.0}")
    assert rate(named, "h200") != rate(plain, "h200")
    assert rate(served(", engine: trt-llm"), "h200") == rate(served(", engine: trtllm"), "h200")
    assert rate(served(", engine: home-made"), "h200") == rate(plain, "h200")
    assert engine_measured(named.work.engine.name) == "vllm"


def on_one(job, name, catalog=CATALOG):
    """On one device, which can be split in no other way."""
    return rate(job, name, 1, catalog)


def small(workload="", more=""):
    return served(workload, "llama-3.1-8b", more)


def measured(value=2.0, metric=Metric.REQUESTS, **cell):
    cells = {"family": "llama-3.1-8b", "accelerator": "h200", "metric": metric}
    found = Cell(**{**cells, **cell})
    band = CellRate(cell=found, value=value, low=0.95 * value, high=1.05 * value, runs=9, noise=0.02, relative=True,
                    provenance=Provenance.MEASURED)  # fmt: skip
    return structs.replace(CATALOG, rates=(band,))


@pytest.mark.parametrize("metric", [Metric.REQUESTS, Metric.OUTPUT_TOKENS])
def test_measured_requests_or_output_tokens_correct_what_a_replica_is_expected_to_serve(metric):
    found = on_one(small(), "h200", catalog=measured(2.0, metric))
    assert found.value == pytest.approx(2.0 * on_one(small(), "h200").value, rel=0.1)
    assert found.provenance in (Provenance.MEASURED, Provenance.DERIVED)


def test_a_figure_of_another_precision_tells_nothing():
    catalog = measured(2.0, precision="fp8")
    assert on_one(small(), "h200", catalog=catalog) == on_one(small(), "h200")
    assert on_one(small(", precision: fp8"), "h200", catalog=catalog) != on_one(small(", precision: fp8"), "h200")


def test_a_figure_holds_less_surely_for_other_software():
    """Framework, runtime and image of the job are compared with those of the figure."""
    stack = Stack(framework="vllm 0.12.0", runtime="cuda 12.8", image="reg/serve:1")
    catalog = measured(2.0, stack=stack)
    image = "image: reg/serve:1\n"
    widths = []
    for engine in (
        "{name: vllm, version: 0.12.0, runtime: cuda 12.8}",
        "{name: vllm, version: 0.11.0, runtime: cuda 12.8}",
        "{name: sglang, version: 0.5.0, runtime: cuda 12.8}",
    ):
        found = on_one(small(f", engine: {engine}", more=image), "h200", catalog=catalog)
        widths.append(found.high / found.low)
    assert widths == sorted(widths)
    assert widths[0] < 1.2 < widths[1]


def test_an_option_with_an_image_of_its_own_is_judged_by_that():
    catalog = measured(2.0, stack=Stack(image="reg/cuda:1"))
    own = "resources: {options: [{accelerator: h200, count: 1, image: reg/cuda:1}]}\n"
    exact, other = (on_one(small(more=text), "h200", catalog=catalog) for text in (own, "image: reg/other:1\n"))
    assert exact.high / exact.low < other.high / other.low


def test_a_runtime_of_another_vendor_is_none_of_a_chip():
    job = served(", engine: {name: vllm, version: 0.12.0, runtime: cuda 12.8}")
    assert Speeds(job, chip("h200"), (), CATALOG)._stack().runtime == "cuda 12.8"
    assert Speeds(job, chip("ascend-910b2"), (), CATALOG)._stack().runtime == ""


@pytest.mark.parametrize(
    ("kind", "workload", "words"),
    [
        (served, ", precision: fp7", ("job.yaml:6", "workload.precision", "unknown precision", *SERVED_IN)),
        (trained, ", precision: int4", ("job.yaml:6", "unknown precision", *TRAINED_IN)),
        (trained, ", kv_precision: fp8", ("workload.kv_precision", "served")),
        (served, ", experts_precision: 8", ("workload.experts_precision", "unknown precision")),
        (served, ", precision: [fp8]", ("workload.precision", "unknown precision")),
        (served, ", engine: {version: 1.0}", ("workload.engine", "`name` is missing")),
        (served, ", engine: vllm 0.12.0", ("workload.engine", "{name: vllm, version: 0.12.0}")),
        (served, ", engine: {name: vllm, build: 7}", ("workload.engine.build", "unknown field")),
    ],
)
def test_what_is_unknown_is_refused_with_its_place_and_what_is_known(kind, workload, words):
    with pytest.raises(ConfigError) as refused:
        kind(workload)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("model", "told", "kept"),
    [
        ("deepseek-ai/DeepSeek-R1", "", "fp8"),
        ("deepseek-ai/DeepSeek-R1", ", precision: bf16", "bf16"),
        ("nvidia/DeepSeek-R1-FP4", "", "fp4"),
        ("meta-llama/Llama-3.1-70B-Instruct-FP8", "", "fp8"),
        ("llama-3.1-70b-awq", "", "awq"),
        ("llama-3.1-70b-instruct", "", ""),
    ],
)
def test_weights_are_in_the_format_of_their_name_or_as_published_where_the_job_says_none(model, told, kept):
    assert served(told, model).work.numerics.precision == kept
    again = parse_jobs(dump_yaml(encode(served(told, model))), "job.yaml", CATALOG)[0]
    assert again.work.numerics.precision == kept


def test_a_model_that_is_published_in_eight_bits_is_served_by_eight_h200():
    assert rate(served(model="deepseek-r1"), "h200", 8).value > 0
    assert rate(served(", precision: bf16", "deepseek-r1"), "h200", 8).value == 0
