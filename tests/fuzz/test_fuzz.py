"""A little of the fuzzing in every run; `make fuzz` goes on with it (`tests/fuzz/__main__.py`)."""

import time

import pytest

from datasets_tools.errors import LorasmithError
from tests.fuzz.cases import TARGETS, FaultError, Target, run_case

# With these seeds always the same cases.
SEED = "fast"
COUNTS = {"dataset": 15, "zip": 40, "image": 60, "base model": 60, "run": 60, "tensors": 60}
MOST = 100
ALWAYS_REFUSED = {"base model"}  # a LoRA file, damaged or not, is none


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_damaged_is_read_or_refused(name, tmp_path):
    count = COUNTS.get(name, MOST)
    read = [run_case(TARGETS[name], f"{SEED}/{number}", tmp_path) for number in range(count)]
    # Damage that is always refused at the same place would try nothing behind it.
    assert any(read) or name in ALWAYS_REFUSED


def raise_value(_folder):
    raise ValueError("int too large")


def refuse_silently(_folder):
    raise LorasmithError(" ")


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (raise_value, "ValueError: int too large"),
        (refuse_silently, "without a word"),
        (lambda _folder: time.sleep(30), "TimeoutError: it took more than 0.2 seconds"),
    ],
)
def test_a_fault_is_seen(tmp_path, read, says):
    with pytest.raises(FaultError, match=says):
        run_case(Target(lambda *_: None, read), "1", tmp_path, seconds=0.2)


def test_a_refusal_is_none(tmp_path):
    def refuse(_folder):
        raise LorasmithError("It is damaged. Download it again.")

    assert not run_case(Target(lambda *_: None, refuse), "1", tmp_path)
