"""Every reason to wait has one sentence, with its amounts and what to do."""

import pytest

from scheduler.cli.sentences import SENTENCES, reason_of, sentence, short
from scheduler.model.reasons import Reason, ReasonCode
from scheduler.service.views import reason_view

FULL = {"accelerator": "h200", "need": 16, "have": 8, "who": "search", "until_us": 1_800_000_000_000_000}


def test_every_code_has_a_sentence_in_the_order_of_the_codes():
    assert list(SENTENCES) == list(ReasonCode)


@pytest.mark.parametrize("code", list(ReasonCode))
@pytest.mark.parametrize("amounts", [FULL, {}], ids=["with amounts", "bare"])
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
    sent = Reason(code=code, **FULL)
    assert reason_of(reason_view(sent)) == sent
    assert reason_of(reason_view(Reason(code=code))) == Reason(code=code)


def test_the_short_form_fits_a_column():
    assert short(reason_view(Reason(code=ReasonCode.NO_ROOM, accelerator="h200", need=8, have=2))) == "no_room h200 8>2"
    assert short(reason_view(Reason(code=ReasonCode.DEPENDENCY, who="abc"))) == "dependency abc"
    assert short(None) == ""
