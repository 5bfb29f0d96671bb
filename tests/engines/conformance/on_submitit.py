"""submitit, as it runs jobs on this host."""

from engines import opened

from chunkstore.testing import EngineConformance


class TestSubmitit(EngineConformance):
    open_engine = staticmethod(opened.submitit)
    many = 5  # each is a process of its own
