"""The tests of a file stay in one process, for what the file prepares once for all of them."""

import pytest

from tests.conftest import GROUPS, name_group

RAN = []  # in this process


def test_a_group_is_a_file_or_a_whole_folder():
    assert name_group("tests/house/test_groups.py::test_it[a::b/c]") == "house/test_groups.py"
    assert GROUPS == ("starter",)
    assert name_group("tests/starter/test_build.py::test_it") == "starter"


@pytest.mark.parametrize("number", range(6))
def test_tests_of_a_file_stay_in_one_process(number, request):
    """Where each test goes to any process, `make test` prepares everything in each of them."""
    name = request.function.__name__
    chosen = [item for item in request.session.items if item.function.__name__ == name]
    RAN.append(number)
    assert [item.callspec.params["number"] for item in chosen][: len(RAN)] == RAN
    assert chosen[len(RAN) - 1] is request.node
