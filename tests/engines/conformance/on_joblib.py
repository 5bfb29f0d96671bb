"""The backends of joblib, through its adapter."""

from engines import opened

from chunkstore.testing import EngineConformance


class TestJoblibLoky(EngineConformance):
    open_engine = staticmethod(opened.joblib_loky)
    breaks_at_death = True


class TestJoblibThreading(EngineConformance):
    open_engine = staticmethod(opened.joblib_threading)
    other_processes = False
    survives_deaths = False


class TestJoblibMultiprocessing(EngineConformance):
    open_engine = staticmethod(opened.joblib_multiprocessing)
    survives_deaths = False
    workers_have_children = False
    opens_in_workers = False
