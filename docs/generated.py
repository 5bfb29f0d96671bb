"""Directives that write, when the pages are built, what the code says already.

`commands` has every command with its options, `store-options` what a store can be configured with, `client-options`
what clients of buckets are told, `table-columns` the columns of the tables, `printed-json` what the commands print,
`error-tree` the tree of errors.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import reference_text
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

import chunkstore

_DIRECTIVES = {
    "commands": reference_text.commands,
    "store-options": reference_text.store_options,
    "client-options": reference_text.client_options,
    "table-columns": reference_text.table_columns,
    "printed-json": reference_text.printed_json,
    "error-tree": reference_text.error_tree,
}

#: What one function returns and another takes, and nobody looks into.
_HANDED_ON = {"Trace"}


class Generated(SphinxDirective):
    """A directive that stands for Markdown.

    Attributes:
        markdown: returns its lines.
    """

    markdown: ClassVar[Callable[[], list[str]]]

    def run(self) -> list[nodes.Node]:
        """Return what the Markdown is."""
        return self.parse_text_to_nodes("\n".join(type(self).markdown()), allow_section_headings=True)


def resolve_public(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Find what an annotation means: it names the module that has a class, which is not where the pages have it."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py":
        return None
    if name in chunkstore.__all__:
        domain = env.get_domain("py")
        target = f"chunkstore.{name}"
        return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, contnode)
    if name in _HANDED_ON:
        return contnode
    if name in reference_text.printed_kinds():
        return make_refnode(app.builder, node["refdoc"], "reference/json", name.lower(), contnode)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx what there is."""
    for name, markdown in _DIRECTIVES.items():
        app.add_directive(name, type(name, (Generated,), {"markdown": staticmethod(markdown)}))
    app.connect("missing-reference", resolve_public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
