"""How Sphinx builds these pages; nothing is fetched from a network, neither by the build nor by the pages."""

import sys
from pathlib import Path

_DOCS = Path(__file__).parent
sys.path[:0] = [str(_DOCS.parent), str(_DOCS)]  # the sources beside these pages are what they document

from chunkstore.version import __version__

project = "chunkstore"
author = "The chunkstore developers"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

default_role = "code"  # docstrings write names of things in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
#: The contract of back ends is a how-to page, which says more than a list of its methods.
nitpick_ignore = [("py:class", "chunkstore.backends.base.Backend")]
#: Names of other projects are no links, which would need their inventories from a network; type variables are nobody's.
nitpick_ignore_regex = [(r"py:.*", r"(?!chunkstore\b).*"), (r"py:.*", r".*\._[A-Z]\w*")]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "chunkstore"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sphinx = False
