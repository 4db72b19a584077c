"""Turn what the user names into single jobs: a source and where its result goes."""

from collections.abc import Iterator
from pathlib import Path

import click

from cli.model_options import say
from osediff_video.media.reading.stdin import PIPE
from osediff_video.suffixes import CONTAINERS, is_image, is_pattern, is_video, unreadable
from osediff_video.target import default_target, result_name


def jobs(named: tuple[Path, ...], output: Path | None, scale: str) -> list[tuple[Path, Path]]:
    """Return (source, target) for every video below what was named. Raises UsageError.

    A folder is a sequence if it holds images, otherwise a tree of videos and sequences that is mirrored under the
    output. scale: what the names of results say of their size.
    """
    sources = [path for name in named for path in expanded(name)]
    for path in filter(Path.is_dir, sources):
        images = sum(is_image(inner) for inner in visible(path))
        if images and any(is_video(inner) for inner in visible(path)):
            say(f"note: {path}: holds videos, so its images ({images}) are left out")
    trees = [path for path in sources if path.is_dir() and not holds_images(path)]
    several = len(sources) > 1 or bool(trees)
    if several and output is not None and is_pattern(output):
        raise click.UsageError(f"several sources need a folder as output, got the pattern {output}")
    if several and output is not None and output.suffix.lower() in CONTAINERS and not output.is_dir():
        raise click.UsageError(f"several sources need a folder as output, got {output}")
    pairs = []
    for source in sources:
        if source in trees:
            root = output or source.resolve().with_name(f"{source.resolve().name}_{scale}")
            inner = list(sources_below(source, root))
            if not inner:
                raise click.UsageError(f"{source}: holds neither images nor videos{unreadable(visible(source))}")
            pairs += [(path, root / path.relative_to(source).parent / result_name(path, scale)) for path in inner]
        else:
            pairs.append((source, video_target(source, output, scale, several)))
    targets = [target for _, target in pairs]
    if twice := next((target for target in targets if targets.count(target) > 1), None):
        raise click.UsageError(f"two sources would both be written to {twice}; use different folders")
    return pairs


def expanded(name: Path) -> Iterator[Path]:
    """Yield the path itself, or what a pattern matches that the shell left alone."""
    if any(mark in str(name) for mark in "*?[") and not name.exists():
        matches = sorted(Path(name.anchor or ".").glob(str(name.relative_to(name.anchor) if name.anchor else name)))
        if not matches:
            raise click.UsageError(f"{name}: nothing matches this pattern")
        yield from matches
    else:
        yield name


def holds_images(folder: Path) -> bool:
    """Return whether a folder is a sequence of frames: it holds images and no video, or nothing at all."""
    paths = visible(folder)
    return not paths or (any(map(is_image, paths)) and not any(map(is_video, paths)))


def visible(folder: Path) -> list[Path]:
    """Return what a folder holds but for hidden names."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def sources_below(folder: Path, root: Path) -> Iterator[Path]:
    """Yield every video and every folder of frames below `folder`, but for hidden ones and our own results."""
    for path in sorted(folder.rglob("*")):
        inside_result = root.resolve() in path.resolve().parents or any(p.suffix == ".osediff" for p in path.parents)
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if inside_result or is_hidden or path.resolve() == root.resolve() or path.suffix == ".osediff":
            continue
        if path.is_dir() and not path.is_symlink():
            is_source = holds_images(path) and any(map(is_image, visible(path)))
        else:
            is_source = path.is_file() and is_video(path)
        if is_source:
            yield path


def video_target(source: Path, output: Path | None, scale: str, several: bool) -> Path:
    """Return where the result of `source` goes: `output` itself, a file of its name inside it, or beside the source."""
    if source == PIPE:
        if output is None:
            raise click.UsageError("reading from a pipe needs --output")
        return output
    if output is None:
        return default_target(source, scale)
    if output == PIPE:
        return output
    if several or (output.is_dir() and not source.is_dir() and not is_pattern(source)):
        return output / result_name(source, scale)
    return output
