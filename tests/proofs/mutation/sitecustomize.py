"""Applies one deliberate defect to chunkstore as it is imported; no file is changed.

Python runs a module of this name at its start where it is on the path, so it also reaches the children of a test.
CHUNKSTORE_MUTANT says which defect of `mutants`; without it nothing happens.
"""

import os
import sys
from importlib.machinery import PathFinder, SourceFileLoader


class _Finder:
    """Finds the one module that gets the defect, and leaves all others to the usual finders."""

    def __init__(self, mutant):
        self._mutant = mutant
        self._module = mutant.file.removesuffix(".py").replace("/", ".")

    def find_spec(self, name, path=None, target=None):
        if name != self._module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        spec.loader = _Loader(name, spec.origin)
        spec.loader.mutant = self._mutant
        return spec


class _Loader(SourceFileLoader):
    """Compiles the changed source; compiled files of the unchanged one are neither read nor written."""

    def get_code(self, fullname):
        source = self.mutant.applied_to(self.get_source(fullname))
        return compile(source, self.path, "exec", dont_inherit=True)


def apply(name):
    """Let chunkstore have the defect of a name when it is imported."""
    import mutants

    sys.meta_path.insert(0, _Finder(mutants.named(name)))


if _name := os.environ.get("CHUNKSTORE_MUTANT"):
    apply(_name)
