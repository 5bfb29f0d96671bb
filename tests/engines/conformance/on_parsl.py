"""Parsl, with processes and with threads."""

import logging

import pytest
from engines import opened

from chunkstore.testing import EngineConformance


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    logging.getLogger("parsl").propagate = False  # pytest keeps what is logged, with the futures that it tells of
    with opened.parsl_of_both_kinds():
        yield


class TestParsl(EngineConformance):
    open_engine = staticmethod(opened.parsl)


class TestParslThreads(EngineConformance):
    open_engine = staticmethod(opened.parsl_threads)
    other_processes = False
    survives_deaths = False
