"""Credentials that expire in the middle of a run: an error that says so, and with new ones the run goes on."""

import pytest
from recorded import step

import chunkstore
from chunkstore.errors import StoreAccessError, StoreUnsupportedError
from chunkstore.testing.proxy import refused

#: How servers say it.
EXPIRED = {
    "S3": refused(400, "ExpiredToken"),
    "S3, the clock": refused(403, "RequestTimeTooSkewed"),
    "Azure": refused(403, "AuthenticationFailed"),
    "GCS": refused(401, "AuthenticationRequired"),
}


@pytest.fixture
def store(s3_place, s3_proxy):
    place = s3_place.through(s3_proxy.endpoint)
    return chunkstore.open_store(place.url, **place.options)


CALLS = {
    "add": lambda store: store.add_step_log("run", step("b")),
    "replace": lambda store: store.add_step_log("run", step("a", message="again")),
    "update": lambda store: store.update_step_log("run", "a", lambda found: setattr(found, "message", "again")),
    "set parameters": lambda store: store.set_parameters("run", {"a": 1}),
    "create": lambda store: store.create_run_log("another"),
    "read": lambda store: store.get_run_log("run"),
    "list": lambda store: list(store.list_runs()),
}


@pytest.mark.parametrize("expired", EXPIRED.values(), ids=list(EXPIRED))
def test_credentials_that_expire_are_an_error_at_once_and_afterwards_the_run_goes_on(
    store, s3_proxy, s3_place, expired
):
    store.create_run_log("run")
    store.add_step_log("run", step("a"))
    for call in CALLS.values():
        with s3_proxy.failing(expired, times=None) as planned, pytest.raises(StoreAccessError) as error:
            call(store)
        assert len(planned.hit) < 3, "it is no good to try it again"
        assert s3_place.url in str(error.value)
        assert "credentials" in str(error.value)
        call(store)
    others = chunkstore.open_store(s3_place.url, **s3_place.options)
    log = others.get_run_log("run", strict=True)
    assert (log.steps["a"].message, set(log.steps), log.parameters) == ("again", {"a", "b"}, {"a": 1})


def test_no_secret_is_in_what_is_said_of_them(store, s3_proxy, s3_place):
    with s3_proxy.failing(refused(403, "AccessDenied"), times=None), pytest.raises(StoreAccessError) as error:
        store.create_run_log("run")
    assert s3_place.options["secret_access_key"] not in f"{error.value} {error.value!r} {store!r}"


def test_a_run_that_is_recorded_goes_on_when_credentials_are_renewed(store, s3_proxy, s3_place):
    with store.start_run("run") as run:
        with run.step("before"):
            pass
        with (
            s3_proxy.failing(refused(400, "ExpiredToken"), times=None, when=lambda request: request.operation == "put"),
            pytest.raises(StoreAccessError),
            run.step("meanwhile"),
        ):
            pass
        with run.step("after"):
            pass
    log = chunkstore.open_store(s3_place.url, **s3_place.options).get_run_log("run", strict=True)
    assert {name: found.status for name, found in log.steps.items()} == {"before": "SUCCESS", "after": "SUCCESS"}
    assert log.status != "PROCESSING"


@pytest.mark.parametrize("what", ["create", "add"])
def test_a_server_that_ignores_conditions_is_refused_at_the_first_write(deaf_place, what):
    store = chunkstore.open_store(deaf_place.url, **deaf_place.options)
    call = store.create_run_log if what == "create" else store.start_run
    for _ in range(2):
        with pytest.raises(StoreUnsupportedError, match="If-"):
            call("run")
    assert list(store.list_runs()) == []
