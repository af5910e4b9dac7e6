"""Sphinx settings of the book. `book/build.py` stages the pages and calls Sphinx with these."""

import os
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [
    str(HERE.parent),
    str(HERE),
]  # the package beside the book, whichever is installed; our extensions
COLAB = "https://colab.research.google.com"


def repository():
    """(address, branch) from pyproject.toml, the one place; a fork can set CNNBOOK_REPOSITORY instead."""
    with (HERE.parent / "pyproject.toml").open("rb") as file:
        settings = tomllib.load(file).get("tool", {}).get("cnnbook", {})
    address = os.environ.get("CNNBOOK_REPOSITORY", settings.get("repository", ""))
    return address.strip().rstrip("/"), settings.get("branch", "main")


def theme_options(address, branch):
    options = {
        "logo": {"text": "cnnbook", "alt_text": "cnnbook, the front page"},
        "show_navbar_depth": 1,
        "show_toc_level": 2,
        "home_page_in_toc": False,
        "use_download_button": True,
        "use_fullscreen_button": True,
        "search_bar_text": "Search, e.g. stride or 感受野",
        "toc_title": "On this page",
        # The theme's own default puts a second search field across the page and disables the phone menu.
        "navbar_persistent": [],
        "footer_start": [],
        "footer_end": [],
    }
    if address:  # without an address a Colab or repository button would lead nowhere
        options |= {
            "repository_url": address,
            "repository_branch": branch,
            "use_repository_button": True,
            "launch_buttons": {"colab_url": COLAB, "notebook_interface": "jupyterlab"},
        }
    return options


project = "cnnbook"
author = "the cnnbook authors"
project_copyright = "the cnnbook authors, MIT licence"
language = "en"

extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton", "sphinx_togglebutton"]
extensions += ["sphinx.ext.autodoc", "api_pages"]  # a page for each room of the package
extensions += ["guard"]
root_doc = "index"
exclude_patterns = ["**/.ipynb_checkpoints"]

nb_execution_mode = "off"  # the outputs are those of the run that was tested
nb_merge_streams = True
nb_ipywidgets_js = {}  # the default loads scripts from a remote host
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = [
    "alert",
    "amsmath",
    "attrs_inline",
    "colon_fence",
    "deflist",
    "dollarmath",
    "tasklist",
]
myst_heading_anchors = 4
myst_ref_domains = ["std"]  # a term of the glossary is not a module of the same name
myst_html_meta = {"viewport": "width=device-width, initial-scale=1"}

autodoc_typehints = "none"  # shapes and units say more
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
add_module_names = False
python_display_short_literal_types = True
html_domain_indices = False

togglebutton_hint = "Show"
togglebutton_hint_hide = "Hide"
copybutton_selector = "div.cell_input div.highlight pre, div.highlight-bash pre, div.highlight-python pre"

html_theme = "sphinx_book_theme"
html_title = "cnnbook"
html_theme_options = theme_options(*repository())
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_show_sphinx = False
html_last_updated_fmt = None

# One file with its own glyphs, so that formulas need no network. The menu is off because two of its entries
# load speech files from a remote host; the formulas carry MathML for screen readers without it.
mathjax_path = "vendor/mathjax/tex-svg.js"
mathjax3_config = {
    "options": {"enableMenu": False},
    "svg": {"displayOverflow": "linebreak", "mtextInheritFont": True},
}
