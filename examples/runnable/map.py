"""A map over files, in as many processes as there are CPUs, whose names no run log should stumble over.

From the folder of the project: `RUNNABLE_CONFIGURATION_FILE=examples/runnable/chunkstore.yaml python
examples/runnable/map.py`.
"""

import hashlib

from runnable import Map, Pipeline, PythonTask, metric


def find() -> list[str]:
    """Return the files to work on."""
    return ["a.csv", "b.csv", "data/a.csv", "../x", "模型.csv"]


def digest(file: str) -> tuple[str, int]:
    """Return a hash of a file's name, and the length of the name."""
    return hashlib.sha256(file.encode()).hexdigest(), len(file)


def count(digests: list[str]) -> int:
    """Return how many different hashes there are."""
    return len(set(digests))


def main() -> Pipeline:
    """Run the pipeline; runnable also calls this to learn what it consists of."""
    branch = Pipeline(steps=[PythonTask(name="digest", function=digest, returns=["digests", metric("length")])])
    pipeline = Pipeline(
        steps=[
            PythonTask(name="find", function=find, returns=["files"]),
            Map(name="each", branch=branch, iterate_on="files", iterate_as="file"),
            PythonTask(name="count", function=count, returns=["different"]),
        ]
    )
    pipeline.execute()
    return pipeline


if __name__ == "__main__":
    main()
