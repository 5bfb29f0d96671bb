"""Azurite: Microsoft's server that speaks Azure's blob storage, from npm.

`python -m tests.support.servers.azurite` installs it, beside the sources; no program of its packages is run for that.
"""

import base64
import hashlib
import hmac
import shutil
import subprocess
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from .shared import SharedServer

CONTAINER = "chunkstore-tests"
#: The account of every Azurite, and its key, which Microsoft has published.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_WANTED = Path(__file__).parent / "azurite"
_FOLDER = Path(__file__).parents[3] / ".azurite"
_PROGRAM = _FOLDER / "node_modules/azurite/dist/src/blob/main.js"


def install() -> None:
    """Install exactly what `package-lock.json` says."""
    shutil.copytree(_WANTED, _FOLDER, dirs_exist_ok=True)
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    subprocess.run(["npm", "ci", *options, "--prefix", _FOLDER], check=True)


def missing() -> str | None:
    """Return what there is to be done before it can be started, None if it can be."""
    if shutil.which("node") is None:
        return "Azurite takes node (Debian's packages nodejs and npm)"
    return None if _PROGRAM.exists() else "Azurite is not installed: python -m tests.support.servers.azurite"


class Azurite(SharedServer):
    """An Azurite with one container, all in memory."""

    name = "azurite"
    depth = 2

    def command(self, ports: list[int], folder: str) -> list[str]:
        """Return the command."""
        options = ("--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck")
        return ["node", str(_PROGRAM), *options, "--blobPort", str(ports[0]), "--blobKeepAliveTimeout", "600"]

    def prepare(self) -> None:
        """Make the container."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        named = "".join(f"{name}:{value}\n" for name, value in headers.items())
        to_sign = f"PUT{12 * chr(10)}{named}/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), to_sign.encode(), hashlib.sha256)).decode()
        headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
        connection = HTTPConnection(*self.address, timeout=5)
        try:
            connection.request("PUT", f"/{ACCOUNT}/{CONTAINER}?restype=container", headers=headers)
            reply = connection.getresponse()
            if reply.status not in {201, 409}:  # made, or there already
                raise OSError(f"Azurite made no container: {reply.status} {reply.read()!r}")
        finally:
            connection.close()

    def url(self, prefix: str) -> str:
        """Return the URL of a prefix in the container."""
        return f"az://{CONTAINER}/{prefix}"

    def options(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return the options of a store in the container, through a proxy if its URL is given."""
        return {
            "endpoint": f"{endpoint or self.endpoint}/{ACCOUNT}",
            "account_name": ACCOUNT,
            "account_key": KEY,
            "allow_http": True,
        }

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """Return the same as variables of the environment."""
        return {
            "AZURE_ENDPOINT": f"{endpoint or self.endpoint}/{ACCOUNT}",
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_ALLOW_HTTP": "true",
        }


if __name__ == "__main__":
    install()
