"""What was acknowledged survives a loss of power, as far as the level of durability promises it; needs root."""

import pytest

from proofs.torture.filesystems import CUTTABLE, mounted, require
from proofs.torture.power_cuts import PROCESS, RUN_LEVEL, STEP, cut_power

#: With those of the other stores and levels these are 20 cuts on each file system.
CUTS = {(STEP, "chunked-fs"): 7, (STEP, "file-system"): 5, (RUN_LEVEL, "chunked-fs"): 5, (RUN_LEVEL, "file-system"): 3}
STORES = ["chunked-fs", "file-system"]


@pytest.fixture(params=CUTTABLE)
def disk(request):
    require(request.param)
    with mounted(request.param) as disk:
        yield disk


def cut(disk, level, store_type):
    cuts = CUTS[level, store_type]
    figures = cut_power(disk, 1, cuts, level=level, store_type=store_type)
    figures.check()
    assert figures.cuts == cuts


@pytest.mark.thorough
@pytest.mark.parametrize("store_type", STORES)
def test_at_level_step_whatever_was_acknowledged_survives_a_power_cut(disk, store_type):
    cut(disk, STEP, store_type)


@pytest.mark.thorough
@pytest.mark.parametrize("store_type", STORES)
def test_at_level_run_whatever_a_finished_run_recorded_survives_a_power_cut(disk, store_type):
    cut(disk, RUN_LEVEL, store_type)


@pytest.mark.parametrize("store_type", STORES)
def test_at_level_process_a_power_cut_does_lose_new_records_so_these_cuts_prove_something(disk, store_type):
    assert cut_power(disk, 1, 20, level=PROCESS, store_type=store_type).lost
