"""A store in a bucket keeps every promise of the conformance suite."""

import pytest
from request_counts import opened

from chunkstore.testing import StoreConformance


class TestInTheMemoryOfObstore(StoreConformance):
    shared_between_processes = False

    @pytest.fixture
    def open_another(self, memory_place):
        return lambda: opened(memory_place)


@pytest.mark.thorough
class TestInSeaweedFS(StoreConformance):
    @pytest.fixture
    def open_another(self, s3_place):
        return lambda: opened(s3_place)
