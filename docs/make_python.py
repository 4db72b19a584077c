"""Write the reference in docs/python.md from signatures and docstrings: `python docs/make_python.py`."""

import ast
import inspect
import re
import textwrap
from dataclasses import fields, is_dataclass
from pathlib import Path

import osediff_video

PAGE = Path(__file__).with_name("python.md")
MARK = "<!-- From here on this page is made by `python docs/make_python.py`. -->\n"
GROUPS = {
    "Functions": (
        "upscale", "upscale_image", "upscale_frames", "load_upscaler", "probe", "preview", "read_frame", "read_preset",
        "preset_names", "model_names", "unfinished_frames", "discard_unfinished",
    ),
    "Models and settings": ("Upscaler", "UpscaleOptions", "AsPublished", "VideoOptions", "Encoding", "Preset"),
    "Results": ("Result", "Progress", "VideoPlan", "ImagePlan", "Preview"),
    "Errors": (
        "OseDiffError", "CheckpointError", "DownloadError", "ImageError", "MediaError", "ModelNotFoundError",
        "OutOfMemoryError", "OutputError", "PresetError",
    ),
    "Version": ("__version__",),
}  # fmt: skip
MEMBERS = {"Upscaler": ("__call__",), "Result": ("complete",), "Progress": ("fps", "eta_s")}
"""Methods and properties that are public too."""


def reference() -> str:
    """Return the generated half of the page: every public name, by group."""
    lines = []
    for title, names in GROUPS.items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += [f"### `{name}`", "", *described(name)]
    return "\n".join(lines).rstrip() + "\n"


def described(name: str) -> list[str]:
    """Return the lines below the heading of one public name."""
    if name == "__version__":
        return ["Version of the installed package, a string.", ""]
    thing = getattr(osediff_video, name)
    if inspect.isfunction(thing):
        return [*signature(name, thing), *documented(thing)]
    assert isinstance(thing, type)
    if is_dataclass(thing):
        defaults = {field.name: default_of(thing, field.name) for field in fields(thing)}
        return [*documented(thing, defaults), *members(thing)]
    if issubclass(thing, Exception):
        base = thing.__bases__[0].__name__
        return [f"Subclass of `{base}`.", "", *documented(thing)]
    return [*first_sentence(thing), "Made by [`load_upscaler`](#load_upscaler).", "", *members(thing)]


def members(owner: type) -> list[str]:
    """Return the lines of an owner's public methods and properties."""
    lines = []
    for name in MEMBERS.get(owner.__name__, ()):
        member = inspect.getattr_static(owner, name)
        if isinstance(member, property):
            lines += [f"Property `{name}`: {paragraphs(member.fget)[0]}", ""]
        else:
            lines += [*signature("upscaler" if name == "__call__" else name, member), *documented(member)]
    return lines


def signature(name: str, function: object) -> list[str]:
    """Return the signature as it stands in the source, one argument per line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))  # type: ignore[arg-type]
    node = tree.body[0]
    assert isinstance(node, ast.FunctionDef)
    given = node.args
    plain = [argument for argument in given.args if argument.arg != "self"]
    lines = with_defaults(plain, given.defaults)
    lines += ["*,", *with_defaults(given.kwonlyargs, given.kw_defaults)] if given.kwonlyargs else []
    returned = ast.unparse(node.returns) if node.returns else "None"
    return ["```text", f"{name}(", *(f"    {line}" for line in lines), f") -> {returned}", "```", ""]


def with_defaults(arguments: list[ast.arg], defaults: list[ast.expr | None] | list[ast.expr]) -> list[str]:
    """Return one line for each argument; the defaults are those of the last ones."""
    padded = [None] * (len(arguments) - len(defaults)) + list(defaults)
    return [
        f"{ast.unparse(argument)}{f' = {ast.unparse(default)}' if default else ''},"
        for argument, default in zip(arguments, padded, strict=True)
    ]


def default_of(owner: type, name: str) -> str | None:
    """Return the default of a field as one types it, or None for a field without."""
    known = {argument.name: argument for argument in inspect.signature(owner).parameters.values()}[name]
    if known.default is inspect.Parameter.empty:
        return None
    return "{}" if "factory" in repr(known.default) else repr(known.default)


def documented(thing: object, defaults: dict[str, str | None] | None = None) -> list[str]:
    """Return a docstring as Markdown; its `name: text` lines become a list."""
    lines: list[str] = []
    for block in blocks(thing):
        items = re.findall(r"^(\w+): (.+?)(?=^\w+: |\Z)", block, re.MULTILINE | re.DOTALL)
        if not items:
            for paragraph in re.split(r"\n(?=Raises |Returns |Yields )", block):
                lines += [" ".join(paragraph.split()), ""]
            continue
        for name, text in items:
            default = (defaults or {}).get(name)
            output = f" (default `{default}`)" if default is not None else ""
            lines.append(f"- `{name}`{output}: {' '.join(text.split())}")
        lines.append("")
    return lines


def blocks(thing: object) -> list[str]:
    return re.split(r"\n\s*\n", inspect.cleandoc(thing.__doc__ or ""))


def paragraphs(thing: object) -> list[str]:
    return [" ".join(block.split()) for block in blocks(thing)]


def first_sentence(thing: object) -> list[str]:
    return [paragraphs(thing)[0], ""]


if __name__ == "__main__":
    written = PAGE.read_text(encoding="utf-8").split(MARK)[0]
    PAGE.write_text(written + MARK + "\n" + reference(), encoding="utf-8")
