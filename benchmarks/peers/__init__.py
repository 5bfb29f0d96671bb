"""Other places for the records of runs; each module imports its library only when it is measured."""
