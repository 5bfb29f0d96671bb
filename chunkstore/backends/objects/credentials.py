"""Credentials of AWS that obstore does not find by itself: profiles and SSO, which boto3 looks up."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from chunkstore.errors import ConfigurationError

#: Options and variables with which obstore finds credentials by itself.
_FOUND_BY_OPTIONS = (
    "access_key_id",
    "container_credentials_full_uri",
    "container_credentials_relative_uri",
    "skip_signature",
    "web_identity_token_file",
)
_FOUND_BY_ENVIRONMENT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_SKIP_SIGNATURE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_PROFILE = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_FILES = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
#: For how long credentials are used before boto3 is asked again, which renews its own in time.
_USED_FOR = timedelta(minutes=5)


def aws_credentials(options: Mapping[str, Any], profile: str) -> Callable[[], Any] | None:
    """Return what asks boto3 for credentials; None where obstore is to find them by itself.

    boto3 is asked if a profile is named, by an option or in the environment. It is also asked if obstore would find
    nothing but a host of AWS that may have some, and there is a file of profiles: then the default one counts.

    Args:
        options: what the client is told.
        profile: a profile; empty if no option names one.

    Raises:
        ConfigurationError: a profile is named, and there is no boto3 or no such profile.
    """
    # As the tools of AWS have it, keys that are named come before a profile of the environment.
    if not profile and _are_found(options):
        return None
    named = profile or next((name for variable in _PROFILE if (name := os.environ.get(variable))), "")
    if not named and not any(
        Path(os.environ.get(variable, usual)).expanduser().is_file() for variable, usual in _FILES
    ):
        return None
    try:
        return _Boto3Credentials(named)
    except ConfigurationError:
        if named:
            raise
        return None  # there is no boto3, or nothing in these files


def _are_found(options: Mapping[str, Any]) -> bool:
    """Tell whether obstore finds credentials by itself."""
    return any(options.get(name) for name in _FOUND_BY_OPTIONS) or any(map(os.environ.get, _FOUND_BY_ENVIRONMENT))


class _Boto3Credentials:
    """Asks boto3 for credentials whenever obstore needs some; obstore's own class for that needs Python 3.11."""

    def __init__(self, profile: str) -> None:
        who = f"the profile {profile!r}" if profile else "the default profile"
        try:
            import boto3  # noqa: PLC0415 - where it is needed alone
            from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - likewise
        except ImportError:
            raise _unusable(f"Cannot use {who} of AWS: boto3 is not installed. Run `pip install boto3`.") from None
        try:
            session = boto3.Session(profile_name=profile or None)
            found = session.get_credentials()
        except BotoCoreError as error:
            raise _unusable(f"Cannot use {who} of AWS: {error}. Check ~/.aws/config and AWS_PROFILE.") from None
        if found is None:
            raise _unusable(f"Cannot use {who} of AWS: it has no credentials. Run `aws configure` or `aws sso login`.")
        self._found = found
        #: What obstore takes over from here.
        self.config = {"region": session.region_name} if session.region_name else {}

    def __call__(self) -> dict[str, Any]:
        frozen = self._found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(timezone.utc) + _USED_FOR,
        }


def _unusable(message: str) -> ConfigurationError:
    return ConfigurationError(message, file="", key="profile", expected="a profile of AWS")
