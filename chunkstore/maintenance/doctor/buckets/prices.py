"""What requests and storage cost, as the services publish it: a table for each, with its source and its date."""

from __future__ import annotations

from pathlib import Path

import msgspec

from chunkstore.errors import ConfigurationError


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests something takes, by how they are paid for.

    Attributes:
        puts: that write an object.
        gets: that read one.
        lists: that list up to 1,000.
        deletes: that delete one or many.
    """

    puts: float = 0
    gets: float = 0
    lists: float = 0
    deletes: float = 0

    def __add__(self, other: Requests) -> Requests:
        """Return both together."""
        return Requests(
            puts=self.puts + other.puts,
            gets=self.gets + other.gets,
            lists=self.lists + other.lists,
            deletes=self.deletes + other.deletes,
        )

    def __mul__(self, times: float) -> Requests:
        """Return so many times that."""
        return Requests(
            puts=self.puts * times, gets=self.gets * times, lists=self.lists * times, deletes=self.deletes * times
        )


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a service asks for, in US dollars.

    Attributes:
        service: what it is, and where.
        per_1000_puts: for writing; also for each part of a large file.
        per_1000_gets: for reading.
        per_1000_lists: for listing.
        per_1000_deletes: for deleting; most ask nothing.
        per_gb_month: for keeping a gigabyte for a month.
        source: where that is published.
        as_of: the month in which it was.
    """

    service: str
    per_1000_puts: float
    per_1000_gets: float
    per_1000_lists: float
    per_gb_month: float
    source: str
    as_of: str
    per_1000_deletes: float = 0.0

    def of(self, requests: Requests) -> float:
        """Return what requests cost, in dollars."""
        paid = (
            requests.puts * self.per_1000_puts
            + requests.gets * self.per_1000_gets
            + requests.lists * self.per_1000_lists
            + requests.deletes * self.per_1000_deletes
        )
        return paid / 1_000


#: By the name that `--prices` takes. They change, and differ from region to region: a file can be given instead.
PRICES = {
    "s3": Prices(
        service="Amazon S3 Standard, US East (N. Virginia)",
        per_1000_puts=0.005,
        per_1000_gets=0.0004,
        per_1000_lists=0.005,
        per_gb_month=0.023,
        source="https://aws.amazon.com/s3/pricing/",
        as_of="2026-05",
    ),
    "s3-express": Prices(
        service="Amazon S3 Express One Zone, US East (N. Virginia)",
        per_1000_puts=0.00113,
        per_1000_gets=0.00003,
        per_1000_lists=0.00113,
        per_gb_month=0.11,
        source="https://aws.amazon.com/s3/faqs/",
        as_of="2026-05",
    ),
    "gcs": Prices(
        service="Google Cloud Storage Standard, us-east1",
        per_1000_puts=0.005,
        per_1000_gets=0.0004,
        per_1000_lists=0.005,
        per_gb_month=0.020,
        source="https://cloud.google.com/storage/pricing",
        as_of="2026-05",
    ),
    "azure": Prices(
        service="Azure Blob Storage, hot, LRS, East US",
        per_1000_puts=0.005,
        per_1000_gets=0.0004,
        per_1000_lists=0.005,
        per_gb_month=0.018,
        source="https://azure.microsoft.com/pricing/details/storage/blobs/",
        as_of="2026-05",
    ),
    "r2": Prices(
        service="Cloudflare R2 Standard",
        per_1000_puts=0.0045,
        per_1000_gets=0.00036,
        per_1000_lists=0.0045,
        per_gb_month=0.015,
        source="https://developers.cloudflare.com/r2/pricing/",
        as_of="2026-08",
    ),
}

#: Whose prices are shown of a bucket, by the scheme of its URL.
BY_SCHEME = {"s3": "s3", "gs": "gcs", "az": "azure"}


def prices_of(named: str) -> Prices:
    """Return the prices of a name, or those in a JSON file with the fields of `Prices`.

    Raises:
        ConfigurationError: there are none of that name, and no such file; or the file has something else in it.
    """
    if named in PRICES:
        return PRICES[named]
    try:
        return msgspec.json.decode(Path(named).read_bytes(), type=Prices)
    except OSError as error:
        names = ", ".join(PRICES)
        raise ConfigurationError(f"There are no prices `{named}`: give one of {names}, or a JSON file.") from error
    except msgspec.DecodeError as error:
        fields = ", ".join(Prices.__struct_fields__)
        raise ConfigurationError(f"{named} has no prices: {error}. Its fields are {fields}.") from error
