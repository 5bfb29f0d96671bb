"""The URL of a git remote is recorded without anything in it that may be secret."""

import pytest

from chunkstore.recording.identity.remotes import without_credentials


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a.git", "https://example.org/a.git"),
        ("https://user:secret@example.org/a.git", "https://example.org/a.git"),
        ("https://secret@example.org:8443/a.git", "https://example.org:8443/a.git"),
        ("https://us@er:se@cret@example.org/a.git", "https://example.org/a.git"),
        ("https://example.org/a.git?token=secret#secret", "https://example.org/a.git"),
        ("ssh://git:secret@example.org:22/a.git", "ssh://example.org:22/a.git"),
        ("git@example.org:group/a.git", "example.org:group/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("", ""),
    ],
)
def test_a_remote_is_recorded_without_what_may_be_secret(url, expected):
    assert without_credentials(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "oauth2:SECRET@host/x",
        "https:/u:SECRET@h",
        "https://u:SECRET/w@h",
        "https://u:SEC/RET?SECRET@h/x",
        "https://u:SECRET#SECRET@h/x",
        "https:u:SECRET@h/x",
        "https:\\\\u:SECRET@h/x",
        "https:///u:SECRET@h/x",
        "//u:SECRET@h/x",
        "u:SECRET@",
        "https://u:SECRET%40h/x",
        "https://u:SECRET\uff20h/x",
        "https://u:SECRET@SECRET@h/x",
        "https::https://u:SECRET@h/x",
        "ext::curl -H SECRET h",
        "https://SECRET:x-oauth-basic@h/x",
        "https://h/x;token=SECRET",
        "https://h/x&token=SECRET",
        "https://h/x?a=b@SECRET",
        "https://user:SECRET/x",
        "ssh://git:SECRET@h:22/x",
        "git+ssh://SECRET@h/x",
        " https://u:SECRET@h/x",
        "https://u:SEC\nSECRET@h/x",
        "file://u:SECRET@h/x",
        "HTTPS:/U:SECRET@H",
    ],
)
def test_no_spelling_of_a_remote_keeps_a_secret(url):
    assert "SECRET" not in without_credentials(url)


@pytest.mark.parametrize(
    "url",
    [
        "/srv/a@b.git",
        "../other.git",
        "./x@y",
        "file:///srv/a@b.git",
        "host:path/x.git",
        "https://[::1]:8080/x.git",
        "C:/x.git",
        "ssh://host:22/~user/x.git",
    ],
)
def test_a_remote_without_a_secret_stays_as_it_is(url):
    assert without_credentials(url) == url
