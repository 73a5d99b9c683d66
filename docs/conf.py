"""How the documentation is built: `make docs`, warnings are errors."""

import inspect
import pydoc
import re
import sys
from pathlib import Path

from docutils import nodes
from msgspec import Struct
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, NumpyDocstring
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import stringify_signature

sys.path.insert(0, str(Path(__file__).parent.parent))

import nbchat
import nbchat.handles.registry

project = "nbchat"
author = copyright = "nbchat developers"  # noqa: A001 - Sphinx's name for it
version = release = nbchat.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "nbchat"
# The pages are read where there is no network, too.
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
# numpy-style sections become fields. The extension itself would also read the one line below an attribute
# as "type: description"; ours are sentences, with colons where sentences have them.
SECTIONS = Config(napoleon_use_rtype=False, napoleon_use_ivar=True)
PLAIN = {"SafeInt": int, "FiniteFloat": float}
WITH_SECTIONS = {"class", "exception", "function", "method", "module"}
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def _on_docstring(  # noqa: PLR0917 - Sphinx's order
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn a docstring as `help` shows it into reStructuredText: single backticks are code."""
    # A letter right after the code, as in a plural, needs an escape that is not shown.
    text = CODE.sub(r"``\1``\\ ", "\n".join(lines))
    found = re.sub(r"``\\ (?!\w)", "``", text).split("\n")
    if what in WITH_SECTIONS:
        made = str(NumpyDocstring(_untyped(found), SECTIONS, app, what, name, obj, options))
        found = re.sub(r"rubric:: Notes\n\n\*\*(\w+):\*\*\n", r"rubric:: \1\n\n", made).split("\n")
    lines[:] = found


def _untyped(lines: list[str]) -> list[str]:
    """Make `Returns` a paragraph of its own: what comes back is said by the signature and a sentence."""
    out = []
    for at, line in enumerate(lines):
        following = lines[at + 1].strip() if at + 1 < len(lines) else ""
        if line.strip() in {"Returns", "Yields"} and following and set(following) == {"-"}:
            out += [line.replace(line.strip(), "Notes"), lines[at + 1]]
            out.append(f"**{line.strip()}:**")
        elif (
            at
            and lines[at - 1].strip() in {"Returns", "Yields"}
            and set(line.strip()) == {"-"}
            and line.strip()
        ):
            continue
        else:
            out.append(line)
    return out


def _on_signature(
    _app: Sphinx,
    _what: str,
    name: str,
    _obj: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Return the signature of a struct's constructor, which only its class has."""
    owner, _, method = name.rpartition(".")
    kind = pydoc.locate(owner) if method == "__init__" else None
    if isinstance(kind, type) and issubclass(kind, Struct):
        found = inspect.signature(kind)
        signature = stringify_signature(found, show_return_annotation=False, unqualified_typehints=True)
    return signature, returned


def _on_member(
    _app: Sphinx, _what: str, name: str, _obj: object, _skip: bool, _options: object
) -> bool | None:
    """Leave out `__new__`, which structs have and which adds nothing to `__init__`."""
    return True if name == "__new__" else None


def _plain_numbers() -> None:
    """Show numbers without the limits that decoding has for them."""
    for name, module in list(sys.modules.items()):
        if name.startswith("nbchat."):
            vars(module).update({key: kind for key, kind in PLAIN.items() if hasattr(module, key)})


class Mermaid(SphinxDirective):
    """A diagram that GitHub draws; here its source is shown, which says the same."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the source as a block of text."""
        text = "\n".join(self.content)
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.add_directive("mermaid", Mermaid)
    app.connect("autodoc-process-docstring", _on_docstring)
    app.connect("autodoc-process-signature", _on_signature)
    app.connect("autodoc-skip-member", _on_member)
    app.connect("builder-inited", lambda _app: _plain_numbers())
