"""What a command that starts workers runs in each: `python -m chunkstore.maintenance.workers QUESTION`."""

from chunkstore.maintenance.workers.worker import main

main()
