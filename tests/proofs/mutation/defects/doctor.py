"""What the doctor finds out about a bucket."""

from mutant import Mutant

from defects.sources import BUCKET_EXAMINATION, BUCKET_PROBES, BUCKET_RACES

_DOCTOR = "tests/maintenance/test_doctor_of_buckets.py"

MUTANTS = (
    Mutant(
        "a server that makes what others have deleted is taken for a good one",
        BUCKET_PROBES,
        '    if not _refuses(lambda: bucket.change("never-made", b"third", second)):',
        "    if False:",
        f"{_DOCTOR} -k RevivingBucket",
    ),
    Mutant(
        "of several winners of a race none is noticed",
        BUCKET_RACES,
        "        wrong += not is_theirs and not (unsure and not winners)",
        "        wrong += not winners and not unsure",
        f"{_DOCTOR} -k RacyBucket",
    ),
    Mutant(
        "changes that are lost are not counted",
        BUCKET_RACES,
        "    if not acknowledged <= count <= acknowledged + unsure:",
        "    if count > acknowledged + unsure:",
        f"{_DOCTOR} -k are_lost",
    ),
    Mutant(
        "what listings leave out is left behind",
        BUCKET_EXAMINATION,
        "    is_listed = listing is None or listing.result != BAD",
        "    is_listed = True",
        f"{_DOCTOR} -k LossyListings",
    ),
)
