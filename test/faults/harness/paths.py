"""Where things are: the checkout under test, what is built for it, and MLflow's environment."""

import os

HARNESS = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(HARNESS)))
BUILD = os.path.join(REPOSITORY, "build", "faults")
AGENT = os.path.join(REPOSITORY, "bin", "lezea-monitor")
TRAINER = os.path.join(REPOSITORY, "test", "faults", "workloads", "trainer.py")


def mlflow_folder() -> str:
    """The virtual environment that MLflow 3 is looked for in."""
    return os.environ.get("LEZEA_MLFLOW_3") or os.path.join(
        REPOSITORY, "build", "ci", "mlflow-3"
    )
