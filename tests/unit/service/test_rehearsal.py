"""A decision before there is anything to decide: it loads what a policy needs, and leaves no trace."""

import logging

import pytest

from scheduler.policies import POLICIES
from scheduler.service import rehearsal
from scheduler.service.configuration import Sources, configured
from scheduler.service.rehearsal import rehearse, rehearse_aside
from tests.support.waiting import until


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_starts_jobs_in_its_rehearsal(policy):
    assert rehearse(configured(Sources(cluster="demo", policy=policy))) > 0


def test_a_rehearsal_that_fails_is_logged_and_stops_nobody(monkeypatch, caplog):
    monkeypatch.setattr(rehearsal, "rehearse", lambda config: 1 // 0)
    with caplog.at_level(logging.ERROR):
        rehearse_aside(configured(Sources(cluster="demo")))
        until(lambda: "the rehearsal met a defect" in caplog.text)
