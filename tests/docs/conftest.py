import pytest
from programs import Programs


@pytest.fixture(scope="session")
def programs():
    with Programs() as started:
        yield started
