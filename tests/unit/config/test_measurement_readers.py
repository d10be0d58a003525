"""Measurements of every format are read with their stack, and what cannot be true is refused with file and line."""

import gzip
import json

import pytest

from scheduler.config import load_catalog
from scheduler.config.readers import Told, accelerator_called, read_measurements
from scheduler.errors import ConfigError
from scheduler.model.accelerators import Provenance
from scheduler.model.rates import Metric, Stack

CATALOG = load_catalog()

PUBLISHED = (
    "kind,model,params_b,active_params_b,device,n_devices,tp,pp,dp,precision,batch,seq_in,seq_out,metric,value,"
    "unit,source"
)
TRAIN = (
    "train,MPT-30b,30,30,H100-80G,512,1,1,512,bf16,4096,2048,,tokens_per_s_per_device,2115.0,tokens/s/device,"
    "github:mosaicml/llm-foundry x"
)
SERVE = (
    "infer,LLaMA3.1-8B,8,8,H200,1,1,1,1,fp8,max,128,128,output_tokens_per_s,27911,tokens/s/instance,"
    "github:NVIDIA/TensorRT-LLM"
)
SILICON = (
    "backend,backend_version,model_path,system,precision,mode,isl,osl,batch_size,tp_size,pp_size,silicon_ttft_ms,"
    "silicon_tpot_ms,silicon_data_source"
)
POINT = "vllm,0.12.0,meta-llama/Llama-3.1-8B,h200_sxm,fp8,agg,1000,1000,16,2,1,42.0,7.5,image=reg/vllm:0.12"
MLPERF = (
    "round,submitter,system,division,accelerator_model_name,accelerators_per_node,number_of_nodes,framework,benchmark,"
    "run_index,global_batch_size,status,time_to_train_s"
)
RUN = "v4.0,ACME,box,closed,NVIDIA H200-SXM5-141GB,8,2,NeMo 24.03,gpt3,0,1536,success,3000.5"
VLLM = {
    "date": "20250101", "backend": "vllm", "model_id": "meta-llama/Llama-3.1-8B-Instruct", "num_prompts": 100,
    "request_rate": "inf", "max_concurrency": 16, "duration": 50.0, "completed": 100, "total_input_tokens": 102400,
    "total_output_tokens": 25600, "request_throughput": 2.0, "output_throughput": 512.0, "mean_ttft_ms": 61.0,
    "median_ttft_ms": 55.0, "mean_tpot_ms": 11.0, "median_tpot_ms": 10.5,
}  # fmt: skip
GENAI = {
    "request_throughput": {"unit": "requests/sec", "avg": 2.0},
    "request_latency": {"unit": "ms", "avg": 2800.0, "p50": 2750.0},
    "time_to_first_token": {"unit": "ms", "avg": 60.0, "p50": 54.0},
    "inter_token_latency": {"unit": "ms", "avg": 10.0, "p50": 9.5},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 500.0},
    "output_sequence_length": {"unit": "tokens", "avg": 256.0},
    "input_sequence_length": {"unit": "tokens", "avg": 1024.0},
    "input_config": {"model": ["qwen3-32b"], "backend": "vllm", "perf_analyzer": {"stimulus": {"concurrency": 8}}},
}
H200 = Told(accelerator="h200", layout="tp=2", stack=Stack(driver="570.86", runtime="cuda 12.8"))


def read(tmp_path, *lines, told=None, name="m.csv"):
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    return read_measurements(tmp_path / name, CATALOG, told)


def read_json(tmp_path, document, told=H200):
    text = document if isinstance(document, str) else json.dumps(document)
    return read(tmp_path, text, told=told, name="m.json").observations


def changed(line, heading, **values):
    """The line with other values in named columns."""
    row = dict(zip(heading.split(","), line.split(","), strict=True)) | values
    return ",".join(str(v) for v in row.values())


def test_a_rate_of_one_device_becomes_that_of_the_job(tmp_path):
    found = read(tmp_path, PUBLISHED, TRAIN).observations[0]
    assert (found.cell.metric, found.value, found.count) == (Metric.TOKENS, 2115.0 * 512, 512)
    assert (found.cell.accelerator, found.cell.precision, found.cell.stack.framework) == ("h100", "bf16", "llm-foundry")
    assert (found.provenance, found.place) == (Provenance.PUBLISHED, f"{tmp_path}/m.csv:2")


def test_tokens_in_and_out_together_are_split_by_their_lengths(tmp_path):
    row = changed(SERVE, PUBLISHED, metric="total_tokens_per_s", unit="tokens/s/instance (input+output)", seq_out=384)
    found = read(tmp_path, PUBLISHED, row).observations[0]
    assert found.value == pytest.approx(27911 * 384 / 512)
    assert found.provenance is Provenance.DERIVED


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"source": "github:x RECALLED"}, "second-hand"),
        ({"metric": "mfu", "unit": "percent"}, "other metric"),
        ({"device": "GPU-reference(unnamed)"}, "catalog"),
        ({"device": "H100-PCIe-80GB"}, "catalog"),
        ({"n_devices": ""}, "devices not stated"),
    ],
)
def test_rows_that_tell_nothing_are_counted_by_reason(tmp_path, values, reason):
    found = read(tmp_path, PUBLISHED, changed(TRAIN, PUBLISHED, **values))
    assert not found.observations
    assert [reason in known for known in found.left_out] == [True]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"value": 1082880}, "need .* TFLOP/s, h100 has"),
        ({"params_b": 3e10, "active_params_b": 3e10}, "write billions"),
        ({"unit": "tokens/s"}, "tokens_per_s_per_device is in tokens/s/device"),
        ({"precision": "bf61"}, "unknown precision 'bf61'; did you mean `bf16`"),
        ({"tp": 3, "dp": 1}, "does not divide 512 devices"),
        ({"dp": 1024}, "more than 512 devices"),
        ({"value": "fast"}, "a number is expected"),
        ({"value": -5}, "outside"),
        ({"batch": "many"}, "a number is expected"),
        ({"kind": "tune"}, "write train or infer"),
    ],
)
def test_a_published_row_that_cannot_be_true_is_refused_with_its_line(tmp_path, values, complaint):
    with pytest.raises(ConfigError, match=rf"m\.csv:3: .*{complaint}"):
        read(tmp_path, PUBLISHED, TRAIN, changed(TRAIN, PUBLISHED, **values))


def test_serving_points_give_both_times_with_engine_and_image(tmp_path):
    first, second = read(tmp_path, SILICON, POINT).observations
    assert (first.cell.metric, first.value, second.cell.metric, second.value) == (Metric.TTFT, 42.0, Metric.TPOT, 7.5)
    assert first.cell.stack == Stack(framework="vllm 0.12.0", image="reg/vllm:0.12")
    assert (first.cell.layout, first.count, first.batch, first.seq_in) == ("tp=2", 2, 16.0, 1000)


def test_a_time_in_seconds_among_milliseconds_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"m\.csv:2: silicon_tpot_ms: .*milliseconds are expected"):
        read(tmp_path, SILICON, changed(POINT, SILICON, silicon_tpot_ms=0.0075))


def test_mlperf_gives_run_times_of_successful_runs(tmp_path):
    found = read(tmp_path, MLPERF, RUN, changed(RUN, MLPERF, status="aborted"))
    assert [o.value for o in found.observations] == [3000.5]
    assert (found.observations[0].cell.accelerator, found.observations[0].count) == ("h200", 16)
    assert found.left_out == {"run that did not succeed": 1}


def test_gavels_and_sias_tables_are_known_by_their_headings_also_packed(tmp_path):
    gavel = "gpu_type,job_type,scale_factor,colocated_job_type,colocated_scale_factor,steps_per_s,colocated_steps_per_s"
    rows = [gavel, "v100,LM (batch size 10),2,,,163.1,", "k80_unconsolidated,LM (batch size 10),2,,,21.0,"]
    (tmp_path / "g.csv.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    one, two = read_measurements(tmp_path / "g.csv.gz", CATALOG).observations
    assert (one.cell.family, one.cell.accelerator, one.batch, one.cell.layout) == ("lm", "v100", 10.0, "")
    assert two.cell.layout == "spread"
    sia = read(tmp_path, "application,cluster,placement,local_bsz,step_time,sync_time", "bert,aws,44,4,0.45,0.01")
    assert (sia.observations[0].cell.accelerator, sia.observations[0].count, sia.observations[0].batch) == (
        "t4",
        8,
        32.0,
    )


def test_a_table_of_ones_own_says_its_stack_row_by_row(tmp_path):
    head = "family,accelerator,devices,layout,precision,step_s,driver,runtime,framework,image"
    row = 'my-model,ascend-910c,16,"pp=2,tp=4",bf16,1.5,25.2,cann 8.2,mindspeed 2.1,reg/train:7'
    found = read(tmp_path, head, row).observations[0]
    assert found.cell.layout == "tp=4,pp=2"
    assert found.cell.stack == Stack(driver="25.2", runtime="cann 8.2", framework="mindspeed 2.1", image="reg/train:7")
    assert (found.cell.metric, found.value, found.count) == (Metric.STEP_TIME, 1.5, 16)


def test_rows_with_a_step_are_steps_of_a_run(tmp_path):
    found = read(tmp_path, "family,devices,run,step,step_s", "m,8,a,1,2.0", "m,8,a,2,1.0", "m,8,b,1,2.0", told=H200)
    assert [o.run.rpartition(":")[2] for o in found.observations] == ["a", "a", "b"]
    plain = read(tmp_path, "family,devices,step_s", "m,8,2.0", told=H200)
    assert plain.observations[0].run == ""


def test_what_a_table_leaves_out_may_be_told_with_it(tmp_path):
    found = read(tmp_path, "family,devices,steps_per_s", "m,8,2.0", told=H200).observations[0]
    assert (found.cell.accelerator, found.cell.layout, found.cell.stack.runtime) == ("h200", "tp=2", "cuda 12.8")


@pytest.mark.parametrize(
    ("head", "row", "complaint"),
    [
        ("family,devices,step_ms", "m,8,20", "m.csv:1: unknown column 'step_ms'; did you mean `step_s`"),
        ("family,devices,accelerator", "m,8,h200", "m.csv:2: holds no measurement"),
        ("family,devices,step_s", "m,8,1.0", "m.csv:2: does not say the accelerator; name it with --accelerator"),
        ("family,devices,accelerator,step_s", "m,8,h2000,1.0", "unknown accelerator 'h2000'; did you mean `h200`"),
        ("family,devices,accelerator,step_s", "m,8,h200,1e6", "seconds are expected, are these milliseconds"),
        ("family,devices,accelerator,layout,step_s", "m,8,h200,tp=3,1", "tp=3 does not divide 8 devices"),
        ("family,devices,accelerator,layout,step_s", "m,8,h200,tensor4,1", "`tensor4` in a layout; write such as tp=8"),
        ("family,devices,accelerator,step_s", "m,0,h200,1.0", "outside 1 to"),
        ("a,b,c", "1,2,3", "m.csv:1: is no table of measurements that is known"),
    ],
)
def test_a_table_of_ones_own_is_refused_with_place_and_remedy(tmp_path, head, row, complaint):
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, head, row)
    assert complaint in str(refused.value)


def test_a_public_table_with_a_column_missing_says_which(tmp_path):
    with pytest.raises(ConfigError, match=r"m\.csv:1: the heading lacks 'unit'"):
        read(tmp_path, PUBLISHED.replace(",unit", ""), "")


def test_vllms_result_gives_medians_and_shape(tmp_path):
    found = {o.cell.metric: o for o in read_json(tmp_path, VLLM)}
    assert {metric: o.value for metric, o in found.items()} == {
        Metric.TTFT: 55.0, Metric.TPOT: 10.5, Metric.OUTPUT_TOKENS: 512.0, Metric.REQUESTS: 2.0,
    }  # fmt: skip
    one = found[Metric.TPOT]
    assert (one.cell.family, one.count, one.batch, one.seq_in, one.seq_out) == (
        "llama-3.1-8b-instruct",
        2,
        16.0,
        1024,
        256,
    )
    assert one.cell.stack == Stack(driver="570.86", runtime="cuda 12.8", framework="vllm")


def test_vllms_results_appended_to_one_file_are_a_line_each(tmp_path):
    text = "\n".join(json.dumps({**VLLM, "median_tpot_ms": value}) for value in (10.0, 20.0))
    found = [o for o in read_json(tmp_path, text) if o.cell.metric is Metric.TPOT]
    assert [(o.value, o.place.rpartition(":")[2]) for o in found] == [(10.0, "1"), (20.0, "2")]


def test_vllms_metadata_may_name_chip_and_split(tmp_path):
    document = {**VLLM, "accelerator": "h20-96", "tensor_parallel_size": 4}
    found = read_json(tmp_path, document, Told())[0]
    assert (found.cell.accelerator, found.cell.layout, found.count) == ("h20-96", "tp=4", 4)


def test_genai_perfs_profile_gives_the_same_metrics_in_our_units(tmp_path):
    document = {**GENAI, "time_to_first_token": {"unit": "ns", "p50": 54e6}}
    found = {o.cell.metric: o.value for o in read_json(tmp_path, document)}
    assert found == {Metric.TTFT: 54.0, Metric.TPOT: 9.5, Metric.OUTPUT_TOKENS: 500.0, Metric.REQUESTS: 2.0}
    assert read_json(tmp_path, document)[0].batch == 8.0


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({**VLLM, "completed": 0}, "no request was completed"),
        ({**VLLM, "median_tpot_ms": "x"}, "m.json:1: median_tpot_ms: a number is expected"),
        ({**VLLM, "median_tpot_ms": 1e-3}, "milliseconds are expected"),
        ({**VLLM, "model_id": "llama-3.1-70b", "median_ttft_ms": 0.15}, "TFLOP/s"),
        ({**GENAI, "inter_token_latency": {"unit": "tokens", "p50": 3.0}}, "a time in 'tokens'"),
        ({"foo": 1}, "JSON of an unknown kind"),
        ("[1]", "an object is expected"),
        ("{", "is not JSON"),
    ],
)
def test_a_benchmarks_result_that_cannot_be_true_is_refused(tmp_path, document, complaint):
    with pytest.raises(ConfigError) as refused:
        read_json(tmp_path, document)
    assert complaint in str(refused.value)


def test_a_benchmarks_result_needs_to_be_told_its_chip(tmp_path):
    with pytest.raises(ConfigError, match="name it with --accelerator"):
        read_json(tmp_path, VLLM, Told())


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for name in ("no.csv", "no.json"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_measurements(tmp_path / name, CATALOG)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("H100-80G", "h100"), ("NVIDIA H100-SXM5-80GB", "h100"), ("A100-40G", "a100-40"), ("A100-80G", "a100"),
        ("h200_sxm", "h200"), ("H20-96G", "h20-96"), ("Ascend-910C", "ascend-910c"), ("Nvidia Tesla V100", "v100"),
        ("NVIDIA A100-SXM4-40GB (400W)", "a100-40"), ("gb200", "gb200"),
    ],
)  # fmt: skip
def test_published_names_mean_chips_of_the_catalog(label, name):
    assert accelerator_called(CATALOG, label).name == name


def test_requests_that_came_at_a_rate_of_their_own_do_not_tell_how_many_were_there_at_once(tmp_path):
    """A server answers what comes: that is no throughput at its largest concurrency."""
    paced = read_json(tmp_path, {**VLLM, "request_rate": 4.0, "max_concurrency": 64})
    pressed = read_json(tmp_path, {**VLLM, "request_rate": "inf", "max_concurrency": 64})
    assert ({one.batch for one in paced}, {one.batch for one in pressed}) == ({0.0}, {64.0})


@pytest.mark.parametrize(
    ("columns", "values", "complaint"),
    [
        ("batch,seq_in,tokens_per_s", "64,4096,9e7", "own.csv:2: tokens_per_s: 1.125e+07 tokens/s per device need"),
        ("batch,seq_in,step_s", "64,4096,0.01", "own.csv:2: step_s: "),
        ("batch,seq_in,ttft_ms", "1,4096,0.25", "own.csv:2: ttft_ms: "),
        ("layout,tokens_per_s", '"tp=2,dp=3",5', "own.csv:2: layout: the layout tp=2,dp=3 does not divide 8 devices"),
        ("layout,tokens_per_s", "tp=3,5", "own.csv:2: layout: the layout tp=3 does not divide 8 devices"),
        ("precision,tokens_per_s", "fp7,5", "own.csv:2: precision: unknown precision"),
    ],
)
def test_a_users_row_that_cannot_be_true_is_refused_with_its_place(tmp_path, columns, values, complaint):
    (tmp_path / "own.csv").write_text(f"family,devices,accelerator,{columns}\nllama-3.1-70b,8,h200,{values}\n")
    with pytest.raises(ConfigError) as refused:
        read_measurements(tmp_path / "own.csv", CATALOG)
    assert complaint in str(refused.value)
