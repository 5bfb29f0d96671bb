"""What the client of an object store can be told: names as obstore has them, for each kind of server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

_S3 = (
    "access_key_id",
    "checksum_algorithm",
    "conditional_put",
    "container_authorization_token_file",
    "container_credentials_full_uri",
    "container_credentials_relative_uri",
    "copy_if_not_exists",
    "default_region",
    "disable_bulk_delete",
    "disable_tagging",
    "endpoint",
    "endpoint_url",
    "endpoint_url_s3",
    "imdsv1_fallback",
    "metadata_endpoint",
    "region",
    "request_payer",
    "role_arn",
    "role_session_name",
    "s3_express",
    "secret_access_key",
    "server_side_encryption",
    "session_token",
    "skip_signature",
    "sse_bucket_key_enabled",
    "sse_customer_key_base64",
    "sse_kms_key_id",
    "sts_endpoint",
    "token",
    "unsigned_payload",
    "virtual_hosted_style_request",
    "web_identity_token_file",
)
_GCS = (
    "application_credentials",
    "base_url",
    "bearer_token",
    "service_account",
    "service_account_key",
    "service_account_path",
    "skip_signature",
)
_AZURE = (
    "access_key",
    "account_key",
    "account_name",
    "authority_host",
    "authority_id",
    "bearer_token",
    "client_id",
    "client_secret",
    "credential_type",
    "disable_tagging",
    "encryption_key",
    "endpoint",
    "fabric_cluster_identifier",
    "fabric_session_token",
    "fabric_token_service_url",
    "fabric_workload_host",
    "federated_token_file",
    "master_key",
    "msi_endpoint",
    "msi_resource_id",
    "object_id",
    "sas_key",
    "sas_token",
    "skip_signature",
    "tenant_id",
    "token",
    "use_azure_cli",
    "use_emulator",
    "use_fabric_endpoint",
)
#: How requests are sent, whatever the server.
_CLIENT = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "default_content_type",
    "default_headers",
    "http1_only",
    "http2_keep_alive_interval",
    "http2_keep_alive_timeout",
    "http2_keep_alive_while_idle",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "randomize_addresses",
    "read_timeout",
    "root_certificate",
    "timeout",
    "user_agent",
)
#: A profile of ~/.aws/config, which boto3 looks up.
PROFILE = "profile"
#: The setting that names the server itself, and what obstore reads it from in the environment.
ENDPOINTS = {
    "s3": (
        ("endpoint", "endpoint_url", "endpoint_url_s3"),
        ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    ),
    "gs": (("base_url",), ("GOOGLE_BASE_URL", "GOOGLE_SERVICE_ACCOUNT_BASE_URL")),
    "az": (("endpoint",), ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")),
}
#: obstore knows these by longer names alone.
_CALLED = {"endpoint_url_s3": "aws_endpoint_url_s3"}
_OWN = {"s3": _S3, "gs": _GCS, "az": _AZURE}
#: What obstore also allows to be put before a name, as in the environment.
_PREFIXES = {"s3": ("aws_",), "gs": ("google_",), "az": ("azure_storage_", "azure_")}

_SECRET_PARTS = ("key", "secret", "token", "sas", "credential", "password", "header", "proxy_url")
_LONGEST_SHOWN = 80


class ClientSettings(NamedTuple):
    """What a client is made with.

    Attributes:
        server: what is about the server, its bucket and who asks.
        client: how requests are sent.
        profile: the profile of AWS; empty for none.
    """

    server: dict[str, Any]
    client: dict[str, Any]
    profile: str


def option_names(scheme: str) -> tuple[str, ...]:
    """Return what a client can be told of a server, by the scheme of its URLs."""
    if scheme not in _OWN:
        return ()
    return tuple(sorted((*_OWN[scheme], *_CLIENT, *((PROFILE,) if scheme == "s3" else ()))))


def usual_name(scheme: str, name: str) -> str:
    """Return an option's name without what obstore also allows before it; empty if there is none of that name."""
    known = option_names(scheme)
    short = name.lower()
    for prefix in _PREFIXES.get(scheme, ()):
        if short not in known:
            short = short.removeprefix(prefix)
    return short if short in known else ""


def why_unusable(name: str, value: Any) -> str:
    """Return what the value of an option must be, if it is not that; empty if it is right."""
    if name == "default_headers":
        is_right = isinstance(value, Mapping) and all(isinstance(each, str) for pair in value.items() for each in pair)
        return "" if is_right else "names and values, both text"
    if isinstance(value, (str, bool, int, float, timedelta)) or (
        name == "root_certificate" and isinstance(value, bytes)
    ):
        return ""
    return "text, a number, or true or false"


def client_settings(scheme: str, options: Mapping[str, Any]) -> ClientSettings:
    """Return options, each under its usual name, as obstore takes them."""
    told = {name: _told(name, value) for name, value in options.items()}
    return ClientSettings(
        {_CALLED.get(name, name): value for name, value in told.items() if name in _OWN[scheme]},
        {name: value for name, value in told.items() if name in _CLIENT},
        str(told.get(PROFILE, "")),
    )


def _told(name: str, value: Any) -> Any:
    if isinstance(value, (bool, str, bytes)):
        return value
    if isinstance(value, timedelta):
        return f"{round(value.total_seconds() * 1000)}ms"
    if isinstance(value, Mapping):
        return dict(value)
    return f"{round(value * 1000)}ms" if name.endswith(("timeout", "interval")) else str(value)


def is_secret(name: str) -> bool:
    """Tell whether the value of an option is nobody's business."""
    return any(part in name for part in _SECRET_PARTS)


def shown_options(options: Mapping[str, Any]) -> str:
    """Return options for people, without secrets."""
    values = {name: "…" if is_secret(name) else repr(value)[:_LONGEST_SHOWN] for name, value in options.items()}
    return ", ".join(f"{name}={value}" for name, value in values.items())
