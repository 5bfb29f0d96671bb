"""MLflow's tracking stores, used through its client.

A run is a run of MLflow. What counts as the record of one step is one call of `log_batch` with a tag, which is named
after the step and holds its JSON, and a metric of that name. MLflow has kept its file store for those who ask for it.
"""

from __future__ import annotations

import logging
import os
import tempfile
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import chunkstore
from benchmarks.example import RUN, decode_step, version_of
from benchmarks.measure import needs
from benchmarks.recorder import Contestant, Recorder
from benchmarks.workers import alone

_DATABASE = "mlflow.sqlite"
_RUN_TAG = "mlflow.runName"


class MlflowRecorder(Recorder):
    """A run of MLflow, in files or in SQLite.

    Args:
        folder: where the store is.
        database: whether it is SQLite.
    """

    def __init__(self, folder: Path, *, database: bool) -> None:
        super().__init__(folder)
        self._database = database
        self._client = _client(folder, database=database)

    def create(self) -> None:
        """Create an experiment with a run."""
        if self._database:  # making its tables takes seconds, so they are copied
            (self.folder / _DATABASE).write_bytes(_empty_database())
        experiment = self._client.create_experiment(RUN, artifact_location=(self.folder / "artifacts").as_uri())
        run = self._client.create_run(experiment, run_name=RUN)
        (self.folder / "run-id").write_text(run.info.run_id)

    def add(self, record: chunkstore.StepLog) -> None:
        """Log a metric and a tag in one call."""
        from mlflow.entities import Metric, RunTag  # noqa: PLC0415 - a peer, perhaps not installed

        name, version = record.internal_name, version_of(record)
        self._client.log_batch(
            self._of_run,
            metrics=[Metric(name, version, timestamp=0, step=version)],
            tags=[RunTag(name, record.to_json())],
            synchronous=True,
        )

    @cached_property
    def _of_run(self) -> str:
        return (self.folder / "run-id").read_text()

    def read(self) -> dict[str, chunkstore.StepLog]:
        """Get the run and decode its tags."""
        run = self._client.get_run(self._of_run)
        return {name: decode_step(text.encode()) for name, text in run.data.tags.items() if name != _RUN_TAG}


def _client(folder: Path, *, database: bool) -> Any:
    from mlflow import MlflowClient  # noqa: PLC0415 - a peer, perhaps not installed

    uri = f"sqlite:///{folder / _DATABASE}" if database else (folder / "mlruns").as_uri()
    return MlflowClient(tracking_uri=uri)


@cache
def _empty_database() -> bytes:
    """Return an SQLite database with MLflow's tables."""

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            _client(Path(folder), database=True).search_experiments()
            return (Path(folder) / _DATABASE).read_bytes()

    return alone(make)  # in a process of its own, so that this one holds no connection


def _load() -> None:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow  # noqa: F401, PLC0415 - a peer, perhaps not installed

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _load_with_database() -> None:
    _load()
    _empty_database()


MLFLOW_FILES = Contestant(
    name="MLflow files",
    role="peer",
    opens=lambda folder: MlflowRecorder(folder, database=False),
    why_skipped=needs(mlflow="mlflow-skinny"),
    load=_load,
)
MLFLOW_SQLITE = Contestant(
    name="MLflow SQLite",
    role="peer",
    opens=lambda folder: MlflowRecorder(folder, database=True),
    why_skipped=needs(mlflow="mlflow-skinny", sqlalchemy="sqlalchemy", alembic="alembic"),
    load=_load_with_database,
    slow=True,  # each process needs a second to open it
)
