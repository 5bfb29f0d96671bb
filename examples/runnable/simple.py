"""A pipeline of one task, recorded by chunkstore.

From the folder of the project: `RUNNABLE_CONFIGURATION_FILE=examples/runnable/chunkstore.yaml python
examples/runnable/simple.py`.
"""

from runnable import Pipeline, PythonTask


def simple_function() -> None:
    """Do the work of the task."""
    print("Hello World!")


def main() -> Pipeline:
    """Run the pipeline; runnable also calls this to learn what it consists of."""
    pipeline = Pipeline(steps=[PythonTask(name="simple", function=simple_function)])
    pipeline.execute()
    return pipeline


if __name__ == "__main__":
    main()
