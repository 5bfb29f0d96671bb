"""MPI, with workers that the driver starts."""

from engines import opened

from chunkstore.testing import EngineConformance


class TestMPI(EngineConformance):
    open_engine = staticmethod(opened.mpi)
    survives_deaths = False
