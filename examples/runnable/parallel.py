"""Two models trained in parallel, each in a process of its own; chunkstore keeps what both of them record.

From the folder of the project: `RUNNABLE_CONFIGURATION_FILE=examples/runnable/chunkstore.yaml python
examples/runnable/parallel.py`.
"""

from runnable import Parallel, Pipeline, PythonTask, metric


def train_forest() -> float:
    """Return how good the forest is."""
    return 0.93


def train_boosted() -> float:
    """Return how good the boosted trees are."""
    return 0.95


def choose(forest: float, boosted: float) -> str:
    """Return the name of the better model."""
    return "forest" if forest > boosted else "boosted"


def main() -> Pipeline:
    """Run the pipeline; runnable also calls this to learn what it consists of."""
    forest = PythonTask(name="train", function=train_forest, returns=[metric("forest")])
    boosted = PythonTask(name="train", function=train_boosted, returns=[metric("boosted")])
    train = Parallel(name="models", branches={"forest": Pipeline(steps=[forest]), "boosted": Pipeline(steps=[boosted])})
    pipeline = Pipeline(steps=[train, PythonTask(name="choose", function=choose, returns=["best"])])
    pipeline.execute()
    return pipeline


if __name__ == "__main__":
    main()
