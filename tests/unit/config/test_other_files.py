"""Rules, policies, workloads, scenarios and accelerators."""

import pytest

from scheduler.config import load_any, load_catalog, read_text, shipped, shipped_names
from scheduler.errors import ConfigError
from scheduler.model.policy import Policy
from scheduler.model.rules import Mode, Rules, TrancheState
from scheduler.model.units import US_PER_S
from scheduler.model.workload import Workload

HEAD = "schema: dualtrack/v1\nkind: "


def refusal(body: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(HEAD + body, "f.yaml", load_catalog())
    return str(caught.value)


def test_the_example_rules_hold_lots_shares_eligibility_and_prices():
    _, rules = load_any(shipped("rules", "example"), load_catalog())
    assert isinstance(rules, Rules)
    lot = rules.lots[0]
    assert (lot.unit_cost_fen, lot.surcharge, lot.tranches[0].state) == (19_000_000, 0.25, TrancheState.IN_SERVICE)
    assert lot.licence is not None
    assert lot.licence.excluded_labels == {"end-use": "government"}
    assert rules.domestic_shares[0].target == 0.3
    assert rules.eligibility[0].mode is Mode.HOLD
    assert rules.prices[0].fen_per_device_hour == 1450


EARLY = "{count: 1, expected: 2026-01-02T00:00:00Z, p90: 2026-01-01T00:00:00Z}"
SHARE = "id: a, basis: used, measure: device_hours, window: 30d"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            f"rules\ndomestic_shares: [{{{SHARE}, target: 1.2}}]",
            "f.yaml:3: domestic_shares[0].target: `1.2` is out of range; 0 to 1",
        ),
        (
            f"rules\ndomestic_shares: [{{{SHARE}, target: 0.3, warn_below: 0.2}}]",
            "f.yaml:3: domestic_shares[0].warn_below: warns only",
        ),
        (
            f"rules\ndomestic_shares: [{{{SHARE.replace('used', 'installed')}, target: 0.3}}]",
            "f.yaml:3: domestic_shares[0].measure: what is installed",
        ),
        (
            f"rules\ndomestic_shares: [{{{SHARE}, target: 0.3}}, {{{SHARE}, target: 0.3}}]",
            "f.yaml:3: domestic_shares[1]: the id `a` is given twice",
        ),
        ("rules\nlots: [{id: a, accelerator: h201}]", "f.yaml:3: lots[0].accelerator: unknown accelerator `h201`"),
        (
            "rules\nlots: [{id: a, accelerator: h200, procurement: shut}]",
            "f.yaml:3: lots[0].procurement: `shut` is not allowed",
        ),
        (
            f"rules\nlots: [{{id: a, accelerator: h200, tranches: [{EARLY}]}}]",
            "f.yaml:3: lots[0].tranches[0].p90: the late date",
        ),
        ("rules\neligibility: [{id: a, jobs: {x: y}}]", "f.yaml:3: eligibility[0]: limits jobs to nothing"),
        (
            "rules\nprices: [{of: h201, cny_per_device_hour: 1}]",
            "f.yaml:3: prices[0].of: `h201` is neither an accelerator nor a lot",
        ),
        ("policy\nname: priority\nmin_run: 5", "f.yaml:4: min_run: a duration is expected"),
        ("policy\nname: priority\nnotice_min: 1h", "f.yaml:4: notice_min: `notice_min` is longer than `notice_max`"),
        ("policy\nname: priority\npreemption: yes", "f.yaml:4: preemption: true or false is expected, not `yes`"),
        ("policy\nname: balanced\na: 11", "f.yaml:4: a: "),
        ("policy\nname: balanced\ntau: 0s", "f.yaml:4: tau: must be longer than zero"),
        ("policy\nname: balanced\nstarve_after: 0s", "f.yaml:4: starve_after: must be longer than zero"),
        ("policy\nname: balanced\ngap: 0", "f.yaml:4: gap: "),
        ("policy\nname: balanced\nround: 6", "f.yaml:4: round: a duration is expected"),
        ("policy\nname: balanced\nwhole_every: 60", "f.yaml:4: whole_every: a duration is expected"),
        ("policy\nname: balanced\nmany_jobs: -1", "f.yaml:4: many_jobs: "),
        ("workload\nname: w\njobs: [{at: 1, job: {}}]", "f.yaml:4: jobs[0].at: a duration is expected"),
        (
            "workload\nname: w\njobs: [{at: 1s, job: {type: batch}}]",
            "f.yaml:4: jobs[0].job: the field `name` is missing",
        ),
        ("scenario\nname: s", "f.yaml:1: the field `cluster` is missing"),
        ("accelerators\naccelerators: []", "f.yaml:3: accelerators: holds 0 entries, at least 1 needed"),
        ("jobs", "f.yaml:2: kind: unknown kind `jobs`; did you mean `job`?"),
    ],
)
def test_a_mistake_is_named_with_its_place(body, message):
    assert refusal(body).startswith(message)


def test_a_policy_keeps_defaults_for_what_it_does_not_say():
    _, policy = read_text(HEAD + "policy\nname: fifo-best-type\nstop_grace: 5s", "f.yaml")
    assert policy == Policy(name="fifo-best-type", stop_grace_us=5 * US_PER_S)


def test_a_policy_says_how_it_weighs_and_how_often_it_is_asked():
    text = "policy\nname: balanced\na: 0.7\ntau: 50h\nq: 2\nhorizon: 30m\nround: 6m\nstarve_after: 2d\ngap: 0.001"
    _, policy = read_text(HEAD + text, "f.yaml")
    hour_us = 3_600 * US_PER_S
    assert (policy.a, policy.q, policy.gap) == (0.7, 2.0, 0.001)
    assert (policy.tau_us, policy.horizon_us, policy.round_us) == (50 * hour_us, hour_us // 2, hour_us // 10)
    assert policy.starve_after_us == 48 * hour_us


def test_a_policy_says_from_how_many_jobs_on_newcomers_are_decided_about_alone_and_for_how_long():
    _, policy = read_text(HEAD + "policy\nname: balanced\nwhole_every: 2m\nmany_jobs: 200", "f.yaml")
    assert (policy.whole_every_us, policy.many_jobs) == (120 * US_PER_S, 200)


def test_arrivals_are_put_in_order_of_time():
    job = "{type: batch, name: %s, entrypoint: [x], resources: {options: [{accelerator: cpu, count: 1}]}}"
    truth = "{rate_factor: {h200: 0.5}, fails_at: 0.1, run: 3m, amount: 7e3}"
    late = f"  - {{at: 2s, job: {job % 'b'}}}\n"
    soon = f"  - {{at: 1s, job: {job % 'a'}, user: ann, truth: {truth}}}\n"
    body = f"workload\nname: w\njobs:\n{late}{soon}"
    _, workload = read_text(HEAD + body, "w.yaml")
    assert isinstance(workload, Workload)
    first, second = workload.arrivals
    assert (first.job.name, second.job.name) == ("a", "b")
    assert (first.user, first.truth.fails_at, first.truth.run_us) == ("ann", 0.1, 180 * US_PER_S)
    assert (first.truth.rate_factor, first.truth.amount) == ({"h200": 0.5}, 7000.0)


ACCELERATOR = "{name: x, family: x, vendor: v, adapter: cpu, track: domestic, compute_units: 1, hbm_gib: %s}"


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("8", "does not say where it comes from"),
        ("{value: 8, from: published, confidence: high}", "does not say where it comes from"),
        ("{value: 8, from: modelled, confidence: low, source: s}", "is modelled and has no band"),
        (
            "{value: 8, low: 9, high: 10, from: published, confidence: low, source: s}",
            "8 lies outside its band [9, 10]",
        ),
        ("[8, 9]", "holds 2 entries, at least 3 needed"),
        ("{value: 8, from: guessed, confidence: low, source: s}", "`guessed` is not allowed"),
    ],
)
def test_a_figure_without_origin_or_band_is_refused(figure, message):
    text = refusal(f"accelerators\naccelerators: [{ACCELERATOR % figure}]")
    assert text.startswith("f.yaml:3: accelerators[0].hbm_gib")
    assert message in text


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("bandwidth_tb_per_s: -4.8", "`-4.8` is out of range"),
        ("bandwidth_tb_per_s: 4800", "4800 is more than any device has, 200; check the unit"),
        ("hbm_gib: 143360", "143360 is more than any device has, 8192; check the unit"),
        ("bf16_tflops: 989e9", "more than any device has"),
        ("link_gb_per_s: 900000", "more than any device has"),
    ],
)
def test_a_figure_that_no_device_has_is_refused(figure, message):
    others = "" if figure.startswith("hbm") else "hbm_gib: 8, "
    head = "{name: x, family: x, vendor: v, adapter: cpu, track: domestic, compute_units: 1, "
    defaults = "defaults: {figures: {from: published, confidence: high, source: s}}"
    text = refusal(f"accelerators\n{defaults}\naccelerators: [{head}{others}{figure}}}]")
    assert text.startswith(f"f.yaml:4: accelerators[0].{figure.split(':')[0]}")
    assert message in text


def test_a_device_must_say_its_memory():
    head = "{name: x, family: x, vendor: v, adapter: cpu, track: domestic, compute_units: 1}"
    assert "the field `hbm_gib` is missing" in refusal(f"accelerators\naccelerators: [{head}]")


def test_an_accelerator_may_not_be_defined_twice(tmp_path):
    figure = "{value: 8, from: published, confidence: high, source: s}"
    text = HEAD + f"accelerators\naccelerators: [{ACCELERATOR % figure}]\n"
    (tmp_path / "a.yaml").write_text(text)
    assert load_catalog(tmp_path).names == ("x",)
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(ConfigError, match="accelerator `x` is defined again, first in"):
        load_catalog(tmp_path)


def test_an_empty_or_missing_catalog_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError):
            load_catalog(folder)


def test_shipped_files_are_found_by_short_name():
    assert "demo" in shipped_names("cluster")
    assert shipped("cluster", "demo").is_file()
    with pytest.raises(ConfigError, match=r"no cluster file called `dmo` is shipped; did you mean `demo`\?"):
        shipped("cluster", "dmo")
    with pytest.raises(ConfigError, match=r"did you mean `cluster`\?"):
        shipped("clusters", "demo")
    with pytest.raises(ConfigError, match="no cluster file called"):
        shipped("cluster", "../clusters/demo")
