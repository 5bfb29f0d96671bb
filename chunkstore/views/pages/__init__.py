"""One run, one step, or the list of runs, for terminals and notebooks."""

from chunkstore.views.pages.tree import render_tree

__all__ = ["render_tree"]
