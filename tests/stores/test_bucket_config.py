"""A configuration names a bucket, and how its server is reached; what cannot be is refused."""

import ast
import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import chunkstore
from chunkstore.backends.objects.credentials import aws_credentials
from chunkstore.backends.objects.place import Place, is_url
from chunkstore.backends.objects.settings import option_names, usual_name
from chunkstore.errors import ConfigurationError, StoreUsageError
from chunkstore.stores.chunked import ChunkedStore

URL = "s3://bucket/some/prefix"
SECRETS = {"access_key_id": "AKIA-not-shown", "secret_access_key": "not/shown+either", "session_token": "nor-this"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CHUNKSTORE_CONFIGURATION_FILE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)


def write(text, name="c.yaml"):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    return name


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3A://Bucket/a/b/", "s3://Bucket/a/b"),
        ("gs://my_bucket.x/p q", "gs://my_bucket.x/p q"),
        ("gcs://bucket", "gs://bucket"),
        ("az://container/p", "az://container/p"),
        ("abfss://container/p", "az://container/p"),
        ("memory://", "memory://"),
        ("memory://name/p", "memory://name/p"),
    ],
)
def test_a_url_opens_a_store_of_chunks_and_nothing_is_sent(url, location):
    store = chunkstore.open_store(url)
    assert isinstance(store, ChunkedStore)
    assert store.backend.location == store.options.url == location
    assert store.catalog_path == f"{location}/.catalog"


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3://ab/c",
        "s3:///prefix",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/.chunkstore",
        "s3://bucket/a.versions/b",
        "s3:/bucket/a",
        "S3:bucket/a",
        "az:/container",
        "s3://bucket/a?b=c",
        "s3://bucket/a#b",
        "s3://user:pass-word@bucket/a",
        "s3://bucket/a\nb",
        f"s3://bucket/{'x' * 600}",
        "http://bucket/a",
        "file:///tmp/x",
        "bucket/a",
        5,
        None,
    ],
)
def test_a_url_that_names_no_bucket_is_refused(url):
    with pytest.raises(ConfigurationError, match=r"for url: it must be (a|the) URL") as error:
        chunkstore.open_store("chunked-object", url=url)
    assert error.value.key == "url"
    assert "pass-word" not in str(error.value)
    if is_url(url):
        with pytest.raises(ConfigurationError):
            chunkstore.open_store(url)


def test_options_come_by_keyword_or_from_a_file_or_from_the_environment(monkeypatch):
    options = {"endpoint": "https://minio.example:9000", "region": "here", "timeout": 5, "allow_http": True}
    given = chunkstore.open_store(URL, lock_timeout=7, **options)
    lines = "".join(f"    {key}: {str(value).lower()}\n" for key, value in options.items())
    file = write(f"run_log_store:\n  type: chunked-object\n  config:\n    url: {URL}\n    lock_timeout: 7\n{lines}")
    read = chunkstore.open_store(config=file)
    assert read.options == given.options
    assert read.backend.place == given.backend.place
    monkeypatch.setenv("CHUNKSTORE_CONFIGURATION_FILE", file)
    assert chunkstore.open_store().options == given.options
    assert chunkstore.open_store(region="there").options.client["region"] == "there"
    client = given.backend.place.connect()
    assert client.config == {"bucket": "bucket", "endpoint": "https://minio.example:9000", "region": "here"}
    assert client.client_options == {"timeout": "5000ms", "allow_http": "true"}
    assert client.prefix == "some/prefix"


def test_options_of_a_client_may_stand_by_themselves_and_have_the_names_of_the_environment():
    plain = chunkstore.open_store(URL, region="here", access_key_id="a", secret_access_key="b")
    for nested in (
        {"client": {"region": "here", "access_key_id": "a"}, "aws_secret_access_key": "b"},
        {"client_options": {"AWS_REGION": "here"}, "AWS_ACCESS_KEY_ID": "a", "secret_access_key": "b"},
    ):
        assert chunkstore.open_store(URL, **nested).options == plain.options
    assert chunkstore.open_store("az://container", azure_storage_account_name="me").options.client == {
        "account_name": "me"
    }


def test_a_file_may_name_a_bucket_in_the_place_of_a_type():
    assert chunkstore.open_store(config=write(f"run_log_store:\n  type: {URL}\n")).backend.location == URL
    assert chunkstore.open_store(url=URL).backend.location == URL
    with pytest.raises(ConfigurationError, match="left out, as the store is named by s3://bucket"):
        chunkstore.open_store(URL, url="s3://another")


@pytest.mark.parametrize(
    ("url", "option", "near"),
    [
        (URL, "endpont", "endpoint"),
        (URL, "secret_acces_key", "secret_access_key"),
        (URL, "durabilty", "durability"),
        (URL, "service_acount", "role_session_name"),
        ("gs://bucket", "service_acount", "service_account"),
        ("az://container", "acount_name", "account_name"),
    ],
)
def test_an_unknown_option_is_refused_and_the_nearest_named(url, option, near):
    with pytest.raises(ConfigurationError, match=f"Unknown key for a store in {url} '{option}'") as error:
        chunkstore.open_store(url, **{option: "x"})
    if near in str(error.value.expected):
        assert f"Did you mean '{near}'?" in str(error.value) or near == "role_session_name"
    assert error.value.key == option


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"container": "journal"}, "container: it must be 'files': nothing can be added to an object in a bucket"),
        ({"log_folder": "x"}, "Unknown key"),
        ({"region": ["a"]}, "region: it must be text, a number, or true or false"),
        ({"client": "x"}, "client: it must be a mapping"),
        ({"default_headers": {"a": 1}}, "default_headers: it must be names and values, both text"),
        ({"seal_finished_runs": True}, "seal_finished_runs: it must be a number of chunks, or false"),
    ],
)
def test_what_does_not_fit_a_bucket_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        chunkstore.open_store(URL, **options)


def test_options_of_buckets_mean_nothing_elsewhere():
    for store_type in ("buffered", "file-system", "chunked-fs"):
        for options in ({"url": URL}, {"client": {}}, {"endpoint": "x"}):
            with pytest.raises(ConfigurationError, match="Unknown key"):
                chunkstore.open_store(store_type, **options)


def test_runs_in_buckets_are_sealed_at_their_end_unless_somebody_says_otherwise():
    assert chunkstore.open_store(URL).options.seal_finished_runs == 0
    assert chunkstore.open_store(URL, seal_finished_runs=100).options.seal_finished_runs == 100
    assert chunkstore.open_store(URL, seal_finished_runs=False).options.seal_finished_runs is None
    assert chunkstore.open_store("chunked-fs", seal_finished_runs=False).options.seal_finished_runs is None


def test_nothing_secret_is_shown():
    store = chunkstore.open_store(URL, endpoint="https://x.example", default_headers={"a": "header-value"}, **SECRETS)
    place = store.backend.place
    shown = [repr(store), repr(store.options), str(store.options), repr(store.options.client), repr(place), str(place)]
    shown += [f"{store.options.client}", repr(store.backend)]
    with pytest.raises(ConfigurationError) as error:
        chunkstore.open_store(URL, **{**SECRETS, "secret_access_key": ["not/shown+either"]})
    shown.append(str(error.value))
    with pytest.raises(ConfigurationError) as error:
        Place(URL, {**SECRETS, "endpoint": "x", "conditional_put": SECRETS["session_token"]}).connect()
    shown += [str(error.value), repr(error.value.__cause__), repr(error.value.__context__)[:0]]
    for text in shown:
        assert not [secret for secret in (*SECRETS.values(), "header-value") if secret in text], text
    assert "endpoint='https://x.example'" in repr(place)


def test_a_server_that_is_named_without_encryption_is_reached_so(monkeypatch):
    assert Place(URL, {"endpoint": "http://127.0.0.1:1"}).connect().client_options == {"allow_http": "true"}
    assert Place(URL, {"endpoint": "https://127.0.0.1:1"}).connect().client_options == {}
    assert Place(URL, {"endpoint_url_s3": "http://127.0.0.1:1"}).connect().client_options == {"allow_http": "true"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert Place(URL).connect().client_options == {"allow_http": "true"}


def test_a_server_that_the_environment_names_with_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "")
    with pytest.raises(ConfigurationError, match="the environment variable AWS_ENDPOINT_URL is empty"):
        Place(URL).connect()
    assert Place(URL, {"endpoint": "https://x.example"}).connect()


def test_what_obstore_refuses_is_an_error_of_the_configuration():
    with pytest.raises(ConfigurationError, match=r"Cannot use az://container: .*Account must be specified\. Check"):
        Place("az://container").connect()


def test_without_obstore_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'chunkstore\[objects\]'"):
        chunkstore.open_store(URL)


def test_a_bucket_in_memory_is_one_for_all_who_name_it():
    assert Place("memory://a").connect() is Place("memory://a").connect()
    assert Place("memory://a").connect() is not Place("memory://b").connect()
    assert Place("memory://").connect() is not Place("memory://").connect()
    with pytest.raises(StoreUsageError, match="to another process"):
        pickle.dumps(Place("memory://a"))


def test_a_place_travels():
    place = Place(URL, SECRETS)
    assert pickle.loads(pickle.dumps(place)) == place
    assert len({place, Place(URL, SECRETS)}) == 1


# --- profiles of AWS -------------------------------------------------------------------------------------------------

CONFIG = """
[default]
region = first
[profile second]
region = elsewhere
"""
CREDENTIALS = """
[default]
aws_access_key_id = of-default
aws_secret_access_key = s
[second]
aws_access_key_id = of-second
aws_secret_access_key = s
aws_session_token = t
"""


def write_profiles():
    write(CONFIG, ".aws/config")
    write(CREDENTIALS, ".aws/credentials")


def test_a_profile_is_looked_up_by_boto3(monkeypatch):
    write_profiles()
    given = aws_credentials({}, "second")
    assert given.config == {"region": "elsewhere"}
    assert {**given(), "expires_at": None} == {
        "access_key_id": "of-second",
        "secret_access_key": "s",
        "token": "t",
        "expires_at": None,
    }
    assert aws_credentials({}, "")()["access_key_id"] == "of-default"
    monkeypatch.setenv("AWS_PROFILE", "second")
    assert aws_credentials({}, "")()["access_key_id"] == "of-second"
    assert chunkstore.open_store(URL, profile="second").backend.place.connect().config["region"] == "elsewhere"


def test_keys_that_are_given_come_before_a_profile_of_the_environment(monkeypatch):
    write_profiles()
    assert aws_credentials({"access_key_id": "a"}, "") is None
    assert aws_credentials({"skip_signature": True}, "") is None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    assert aws_credentials({}, "") is None
    assert aws_credentials({}, "second")()["access_key_id"] == "of-second"


def test_boto3_is_not_asked_where_there_are_no_profiles(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert aws_credentials({}, "") is None
    write_profiles()
    assert aws_credentials({}, "") is None
    with pytest.raises(
        ConfigurationError, match=r"the profile 'second' of AWS: boto3 is not installed.*pip install boto3"
    ):
        aws_credentials({}, "second")


def test_a_profile_that_is_not_there_is_named():
    write_profiles()
    with pytest.raises(ConfigurationError, match=r"the profile 'third' of AWS: .*third.* could not be found"):
        chunkstore.open_store(URL, profile="third").backend.place.connect()


# --- obstore's own names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "file", "kind"),
    [("s3", "_aws", "S3Config"), ("gs", "_gcs", "GCSConfig"), ("az", "_azure", "AzureConfig")],
)
def test_every_option_of_obstore_is_known(scheme, file, kind):
    folder = Path(find_spec("obstore").origin).parent / "_store"
    named = set()
    for module, cls in ((file, kind), ("_client", "ClientConfig")):
        tree = ast.parse((folder / f"{module}.pyi").read_text())
        (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls]
        named |= {node.target.id for node in found.body if isinstance(node, ast.AnnAssign)}
    named = {"endpoint_url_s3" if name == "aws_endpoint_url_s3" else name for name in named}
    assert named - {"bucket", "container_name"} <= set(option_names(scheme))
    prefix = {"s3": "aws_", "gs": "google_", "az": "azure_"}[scheme]
    assert all(usual_name(scheme, f"{prefix}{name}") == name for name in option_names(scheme))
    assert usual_name(scheme, "nonsense") == ""
