"""executorlib, as it runs functions on this host."""

import pytest
from engines import opened

from chunkstore.testing import EngineConformance
from chunkstore.testing.suite_engine_drivers import EngineDriverSuite
from chunkstore.testing.suite_engine_failures import EngineFailureSuite

#: Of what it imports.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


class TestExecutorlibBlocks(EngineConformance):
    """Processes that run one function after the other."""

    open_engine = staticmethod(opened.executorlib_blocks)
    survives_deaths = False  # what kills one worker is given to the next, until none is left


class TestExecutorlib(EngineFailureSuite, EngineDriverSuite):
    """A process for each function: what starts, fails and ends in another way than in blocks."""

    open_engine = staticmethod(opened.executorlib)
