"""All the deliberate defects."""

from defects import (
    asynchronous,
    attempts,
    branches,
    buckets,
    copying,
    doctor,
    elsewhere,
    engines,
    exclusion,
    file_servers,
    identity,
    incarnations,
    lost,
    lost_replies,
    order,
    owners,
    packing,
    plain_places,
    reads,
    stable_storage,
    upkeep,
    views,
    whole_files,
)
from mutant import Mutant

MUTANTS = (
    *stable_storage.MUTANTS,
    *whole_files.MUTANTS,
    *attempts.MUTANTS,
    *exclusion.MUTANTS,
    *file_servers.MUTANTS,
    *identity.MUTANTS,
    *incarnations.MUTANTS,
    *lost.MUTANTS,
    *lost_replies.MUTANTS,
    *order.MUTANTS,
    *owners.MUTANTS,
    *reads.MUTANTS,
    *packing.MUTANTS,
    *plain_places.MUTANTS,
    *upkeep.MUTANTS,
    *views.MUTANTS,
    *branches.MUTANTS,
    *buckets.MUTANTS,
    *copying.MUTANTS,
    *doctor.MUTANTS,
    *asynchronous.MUTANTS,
    *elsewhere.MUTANTS,
    *engines.MUTANTS,
)

#: Applied as all the others are, and no defect: the tests must pass.
HARMLESS = Mutant(
    "nothing",
    "chunkstore/backends/disk/folder.py",
    "class Folder(FolderReader):",
    "class Folder(FolderReader):",
    "tests/backends/test_backends.py",
)


def named(name):
    """Return the defect of a name."""
    return next(mutant for mutant in (*MUTANTS, HARMLESS) if mutant.name == name)
