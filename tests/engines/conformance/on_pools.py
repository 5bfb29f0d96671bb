"""Pools of the standard library and of loky, with as many items as are many."""

from engines import opened

from chunkstore.testing import EngineConformance


class TestThreads(EngineConformance):
    open_engine = staticmethod(opened.threads)
    other_processes = False
    survives_deaths = False


class TestForkedProcesses(EngineConformance):
    open_engine = staticmethod(opened.forked)
    breaks_at_death = True


class TestSpawnedProcesses(EngineConformance):
    open_engine = staticmethod(opened.spawned)
    breaks_at_death = True


class TestLoky(EngineConformance):
    open_engine = staticmethod(opened.loky)
    breaks_at_death = True
