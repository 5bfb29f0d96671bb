"""Readers never meet anything torn and never miss what was acknowledged, on each file system; most need root."""

import pytest
from zygote import in_small_process

from proofs.torture.filesystems import KINDS, mounted, require
from proofs.torture.readers_under_fire import read_under_fire

READS = 25_000


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_no_read_is_torn_or_misses_what_was_acknowledged_before_it_began(kind):
    require(kind)
    with mounted(kind) as disk:
        figures = in_small_process(read_under_fire, disk, 1, READS)
    figures.check()
    assert figures.reads >= READS


@pytest.mark.thorough
@pytest.mark.parametrize(("store_type", "reads"), [("chunked-fs", 400), ("chunked-fs", 2_000), ("file-system", 2_000)])
def test_no_read_is_torn_or_misses_what_was_acknowledged_wherever_the_tests_run(tmp_path, store_type, reads):
    figures = in_small_process(read_under_fire, tmp_path, 1, reads, store_type)
    figures.check()
    assert figures.reads >= reads
