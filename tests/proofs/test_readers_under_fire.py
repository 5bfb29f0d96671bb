"""Readers never meet anything torn and never miss what was acknowledged, on each file system; most need root."""

import pytest

from proofs.torture.filesystems import KINDS, mounted, require
from proofs.torture.readers_under_fire import read_under_fire

pytestmark = pytest.mark.thorough

READS = 25_000


@pytest.mark.parametrize("kind", KINDS)
def test_no_read_is_torn_or_misses_what_was_acknowledged_before_it_began(kind):
    require(kind)
    with mounted(kind) as disk:
        figures = read_under_fire(disk, 1, READS)
    figures.check()
    assert figures.reads >= READS


@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_no_read_is_torn_or_misses_what_was_acknowledged_wherever_the_tests_run(tmp_path, store_type):
    figures = read_under_fire(tmp_path, 1, 2_000, store_type=store_type)
    figures.check()
    assert figures.reads >= 2_000
