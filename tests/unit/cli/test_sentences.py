"""Every reason to wait has one sentence, with its amounts and what to do."""

import pytest

from scheduler.cli.sentences import SENTENCES, reason_of, sentence, short
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.service.views import reason_view

FULL = {"accelerator": "h200", "need": 16, "have": 8, "who": "search", "until_us": 1_800_000_000_000_000}
LIMITED = {**FULL, "limit": 64, "used": 56, "tenant": "search/ranking"}


def test_every_code_has_a_sentence_in_the_order_of_the_codes():
    assert list(SENTENCES) == list(ReasonCode)


@pytest.mark.parametrize("code", list(ReasonCode))
@pytest.mark.parametrize("amounts", [FULL, LIMITED, {}], ids=["with amounts", "with a limit", "bare"])
def test_every_code_renders_as_one_clean_sentence(code, amounts):
    text = sentence(Reason(code=code, **amounts))
    assert text[0].isupper() and text.endswith(".")
    assert "\n" not in text and "  " not in text
    assert " ." not in text and "()" not in text and "None" not in text
    assert ". " not in text.removesuffix("."), "one sentence"
    assert len(text) < 240


@pytest.mark.parametrize(
    "code", [ReasonCode.EXCEEDS_FLEET, ReasonCode.NO_ROOM, ReasonCode.QUOTA_IN_USE, ReasonCode.FRAGMENTED]
)
def test_amounts_are_named(code):
    text = sentence(Reason(code=code, **FULL))
    assert "16" in text and "8" in text and "h200" in text


def test_no_two_codes_say_the_same():
    texts = [sentence(Reason(code=code, **FULL)) for code in ReasonCode]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("code", list(ReasonCode))
def test_a_reason_survives_the_wire(code):
    for amounts in (FULL, LIMITED):
        sent = Reason(code=code, **amounts)
        assert reason_of(reason_view(sent)) == sent
    assert reason_of(reason_view(Reason(code=code))) == Reason(code=code)


def test_the_short_form_fits_a_column():
    assert short(reason_view(Reason(code=ReasonCode.NO_ROOM, accelerator="h200", need=8, have=2))) == "no_room h200 8>2"
    assert short(reason_view(Reason(code=ReasonCode.DEPENDENCY, who="abc"))) == "dependency abc"
    assert short(None) == ""


@pytest.mark.parametrize(
    ("resource", "unit", "column", "says"),
    [
        (
            "",
            1,
            "quota_in_use h200 4>2 of 8",
            "It needs 4 h200 and 2 h200 of the tenant's quota (red) is free: 6 of 8 h200 in",
        ),
        ("family:h20", 1, "quota_in_use family:h20 4>2 of 8", ": 6 of 8 h20 in use;"),
        ("compute_units", 1000, "quota_in_use compute_units 4>2 of 8", ": 6 of 8 compute units in use;"),
        ("money", 50, "quota_in_use money 2>1 of 4", ": 3.00 of 4.00 CNY an hour in use;"),
    ],
)
def test_of_a_limit_it_is_told_what_is_needed_what_is_left_and_of_how_much(resource, unit, column, says):
    amounts = {name: n * unit for name, n in (("need", 4), ("have", 2), ("limit", 8), ("used", 6))}
    told = Reason(code=ReasonCode.QUOTA_IN_USE, accelerator="h200", who="red", resource=resource, **amounts)
    assert says in sentence(told)
    assert short(reason_view(told)) == column


def test_a_limit_on_users_names_the_user_and_the_tenant():
    told = Reason(
        code=ReasonCode.USER_LIMIT_IN_USE, accelerator="h200", who="ann", tenant="red", need=4, have=1, limit=8, used=7
    )
    assert "the user (ann) may take 1 more: 7 of 8 devices in use in red" in sentence(told)
