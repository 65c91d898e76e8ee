"""Hook of mkdocs: what the documentation site has next to docs/, and what it must not have.

The reference has a page for each public namespace, made of the `__all__` of the packages; they are read and not
imported, so the site is built without Keras. The notebooks of examples/notebooks become pages. A page that would load
something from another host ends the build.
"""

import ast
import json
import pathlib
import posixpath
import re
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "keras_margin"
NOTEBOOKS = "examples/notebooks"
_LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")


def exported(path: pathlib.Path) -> list[str]:
    """Returns the `__all__` of a Python file, with its sums and starred names, without running the file.

    Args:
        path: The file.

    Returns:
        The names in their order.

    Raises:
        ValueError: There is no `__all__`, or one of something else than lists, tuples and dicts of strings.
    """
    known: dict[str, list[str] | None] = {}
    for line in ast.parse(path.read_text(encoding="utf-8")).body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(target, ast.Name) and line.value is not None:
            known[target.id] = _strings(line.value, known)
        elif isinstance(line, ast.AugAssign) and isinstance(target, ast.Name):
            before, more = known.get(target.id), _strings(line.value, known)
            known[target.id] = None if before is None or more is None else before + more
    if (names := known.get("__all__")) is None:
        raise ValueError(f"{path} needs an __all__ of strings that stand in the file.")
    return names


def _strings(value: ast.expr, known: dict[str, list[str] | None]) -> list[str] | None:
    """Returns the strings of a list or tuple, or a dict's keys; None for another expression."""
    elements = value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", None)
    if elements is None:
        return None
    found: list[str] = []
    for each in elements:
        if isinstance(each, ast.Starred) and isinstance(each.value, ast.Name):
            part = known.get(each.value.id)
        else:
            part = [each.value] if isinstance(each, ast.Constant) and isinstance(each.value, str) else None
        if part is None:
            return None
        found += part
    return found


def namespaces(root: pathlib.Path = ROOT / PACKAGE) -> dict[str, list[str]]:
    """Returns each public namespace by its dotted name below the package, with its names that are not namespaces."""
    found: dict[str, list[str]] = {}

    def add(file: pathlib.Path, name: str) -> None:
        files = {path.stem: path for path in file.parent.glob("*.py")} if file.name == "__init__.py" else {}
        files |= {path.parent.name: path for path in file.parent.glob("*/__init__.py")} if files else {}
        names = set(exported(file))
        inner = names & set(files) - _named_as_their_module(file)
        if name:
            found[name] = sorted(names - inner)
        for each in sorted(inner):
            add(files[each], f"{name}.{each}".lstrip("."))

    add(root / "__init__.py", "")
    return found


def _named_as_their_module(file: pathlib.Path) -> set[str]:
    """Returns the names that a package imports from a module of the same name, and which hide it."""
    lines = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    imports = [(line.module, alias.name) for line in lines if isinstance(line, ast.ImportFrom) for alias in line.names]
    return {name for module, name in imports if f".{module}".endswith(f".{name}")}


def reference_page(namespace: str, names: list[str]) -> str:
    """Returns the Markdown of a namespace's page: its docstring, then an entry for each name."""
    head = f"# km.{namespace}\n\n::: {PACKAGE}.{namespace}\n    options: {{members: false, show_root_heading: false}}\n"
    return "\n".join([head, *(f"::: {PACKAGE}.{namespace}.{name}\n" for name in names)])


def notebook_page(text: str) -> str:
    """Returns a notebook as Markdown: its text, its code, and what the code showed where that was kept."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {"text/plain": output.get("text", ())})
            if "image/png" in data:
                parts.append(f"![What the cell shows](data:image/png;base64,{data['image/png']})")
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    page = "\n\n".join(parts) + "\n"
    return re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](\1.md)", page.replace("](../../docs/", "](../"))


def generated_pages() -> dict[str, str]:
    """Returns the pages that are not in docs/, by their address: those of the reference, and the notebooks."""
    pages = {f"reference/{name}.md": reference_page(name, names) for name, names in namespaces().items()}
    for path in sorted((ROOT / NOTEBOOKS).glob("*.ipynb")):
        pages[f"notebooks/{path.stem}.md"] = notebook_page(path.read_text(encoding="utf-8"))
    return pages


def page_for_site(markdown: str, address: str) -> str:
    """Returns a page as mkdocs needs it.

    Words behind a fence's language, which say whether a block runs, are left out, and so are the comments that prepare
    a block. A link that leaves docs/ becomes a link to the notebook's page, or the path of the file: the repository has
    no public address.

    Args:
        markdown: The page as it is in docs/.
        address: Its path below docs/, with slashes.
    """
    markdown = re.sub(r"^<!-- python.*?^-->\n+", "", markdown, flags=re.DOTALL | re.MULTILINE)
    markdown = re.sub(r"^```(\w+)[^\n]*$", r"```\1", markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^```output$", "```text", markdown, flags=re.MULTILINE)
    folder = posixpath.dirname(f"docs/{address}")

    def replace(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        if path.startswith("docs/"):
            return link[0]
        if path.startswith(NOTEBOOKS) and path.endswith(".ipynb"):
            page = f"docs/notebooks/{posixpath.basename(path)[: -len('.ipynb')]}.md"
            return f"[{text}]({posixpath.relpath(page, folder)})"
        return text if path in text else f"{text} (`{path}`)"

    return re.sub(r"\[([^\]]*)\]\(((?!\w+:)[^)#\s]+)\)", replace, markdown)


def loads_from_elsewhere(html: str) -> list[str]:
    """Returns the addresses on other hosts of what a page would load by itself; links to follow are not among them."""
    return [address for address in _LOADED.findall(html) if 'rel="canonical"' not in address]


# What mkdocs calls.


def on_config(config: Any) -> Any:
    """Adds the generated pages to the navigation."""
    parts = {title: pages for part in config.nav for title, pages in part.items()}
    for address in generated_pages():
        title = f"km.{address[len('reference/') : -len('.md')]}"
        part = "Reference" if address.startswith("reference/") else "Notebooks"
        parts[part].append({title: address} if part == "Reference" else address)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages to what is built."""
    from mkdocs.structure.files import File

    for address, text in generated_pages().items():
        files.append(File.generated(config, address, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Prepares a page of docs/."""
    return page_for_site(markdown, page.file.src_uri)


def on_post_build(config: Any) -> None:
    """Ends the build where a page would load something from another host."""
    from mkdocs.exceptions import PluginError

    for path in sorted(pathlib.Path(config.site_dir).rglob("*.html")):
        if found := loads_from_elsewhere(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path} would load from another host: {', '.join(found)}. Readers may be offline.")
