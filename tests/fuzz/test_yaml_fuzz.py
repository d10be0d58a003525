"""No text whatever makes the reader raise anything but its own error.

DUALTRACK_FUZZ_COUNT sets the number of inputs (default 3,000).
"""

import os

from tests.fuzz.yaml_fuzz import report, run, run_values

COUNT = int(os.environ.get("DUALTRACK_FUZZ_COUNT", "3000"))
SEED = int(os.environ.get("DUALTRACK_FUZZ_SEED", "20261123"))


def test_no_text_makes_the_reader_raise_anything_but_its_own_error():
    outcome = run(COUNT, SEED)
    print(report(outcome, SEED))
    assert outcome.broken == []
    assert outcome.accepted > COUNT // 100, "a fuzz that nothing survives tests the first check only"


def test_no_decoded_body_makes_the_decoder_raise_anything_but_its_own_error():
    outcome = run_values(COUNT, SEED)
    assert outcome.broken == []
