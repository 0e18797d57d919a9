"""Sphinx's settings: `make docs` builds these pages, which GitHub shows as they are, and the reference."""

from __future__ import annotations

import re
import sys
from importlib import import_module, metadata
from inspect import cleandoc
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.domains.python import PyXRefRole
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from ttamer.cli.app import app as command_line

project = "ttamer"
copyright = "the authors of ttamer, Apache-2.0"
release = metadata.version("ttamer")
html_title = f"ttamer {release}"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
templates_path: list[str] = []
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_in_temp = True
nb_merge_streams = True

# Of these only names are needed, whether they are installed or not.
autodoc_mock_imports = ["litellm", "openai", "prometheus_client", "ray", "starlette", "torch", "transformers", "triton"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings have them
numpydoc_show_class_members = False
default_role = "name"


class NameRole(PyXRefRole):
    """What stands between single backticks in a docstring: a public name, which becomes a link, or an argument."""

    def process_link(
        self, env: BuildEnvironment, refnode: nodes.Element, has_explicit_title: bool, title: str, target: str
    ) -> tuple[str, str]:
        """Look the name up as code of that module would."""
        refnode.update_all_atts({"refdomain": "py", "reftype": "obj", "is_name": True})
        is_public = "." in target or target[:1].isupper()  # found wherever it is, without the name of its module
        return super().process_link(env, refnode, has_explicit_title, title, f".{target}" if is_public else target)


def other_names(app: Sphinx, env: BuildEnvironment, node: nodes.Element, text: nodes.Element) -> Any:
    """An attribute that the docstring of its class describes leads there; an argument, or a foreign name, nowhere."""
    if not node.get("is_name"):
        return None
    owner, _, attribute = node["reftarget"].rpartition(".")
    if not re.fullmatch(r"(?!torch|nn|litellm|serve|Deployment)[\w.]*\w", owner):
        return text
    names = [name for name, *_ in env.get_domain("py").get_objects() if name == owner or name.endswith(f".{owner}")]
    for name in names:
        module, _, class_name = name.rpartition(".")
        documented = getattr(import_module(module), class_name, None) if module in sys.modules else None
        if re.search(rf"^{attribute}\b", cleandoc(documented.__doc__ or ""), flags=re.MULTILINE):
            return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, text)
    return None


class Commands(SphinxDirective):
    """Every command with its arguments and options, as the command line itself has them."""

    def run(self) -> list[nodes.Node]:
        """A section a command."""
        lines = []
        for name, command in get_command(command_line).commands.items():
            context = command.context_class(command, info_name=f"ttamer {name}")
            usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
            lines += [f"ttamer {name}", "-" * 40, "", f"``{usage}``", "", *_plain(command.help), ""]
            lines += [f"{command.epilog.replace(': ', ': ``')}``", "", f".. program:: ttamer {name}", ""]
            for record in (each.get_help_record(context) for each in command.get_params(context)):
                if record is not None:  # but for hidden ones
                    option, text = record
                    lines += [f".. option:: {option}", "", *(f"   {line}" for line in _plain(text)), ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _plain(text: str) -> list[str]:
    """Lines for Sphinx, which would take the hyphens of an option for a dash."""
    return re.sub(r"--[\w-]+", r"``\g<0>``", cleandoc(text)).splitlines()


def without_types(
    app: Sphinx, what: str, name: str, value: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, None]:
    """Signatures of the core have types in them, which the docstrings say better."""
    return signature and re.sub(r": [\w. |\[\]]+?(?= =|,|\))", "", signature).replace("self, ", ""), None


def inline_math(translator: Any, node: nodes.Element) -> None:
    """MathML, which browsers show without a script."""
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(translator: Any, node: nodes.Element) -> None:
    """MathML on a line of its own, which scrolls where it is too wide."""
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Roles, events and the renderer above."""
    app.add_role("name", NameRole())
    app.add_directive("commands", Commands)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("missing-reference", other_names)
    app.connect("autodoc-process-signature", without_types)
