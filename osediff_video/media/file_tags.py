"""Decide which tags of a file its copy can hold, by trial."""

import io

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

STATISTICS = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS_", "ENCODER", "ALPHA_MODE")
"""Tags that describe the encoding of the source and would lie about the result."""

OF_MP4 = ("MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS", "HANDLER_NAME", "VENDOR_ID")
"""Tags that describe an MP4 as a file; in another container they mean nothing."""

QUICKTIME_LANGUAGE = {"deu": "ger", "nld": "dut", "zho": "chi", "ell": "gre", "ces": "cze", "ron": "rum", "fas": "per"}
"""QuickTime knows languages by their bibliographic codes only."""

FREE_KEYS = "+use_metadata_tags"
"""Makes FFmpeg write tags of any name to MP4 and MOV, but no cover, and none where players look for titles."""

SHOWN_BY_PLAYERS = {"title", "artist", "album", "album_artist", "composer", "genre", "comment", "date", "track", "show"}


def carried_tags(tags: dict[str, str], container_format: str) -> dict[str, str]:
    """Return the tags of a file or stream that still hold for the result, by their container's names."""
    is_mp4 = container_format in ("mp4", "mov")
    skipped = STATISTICS + OF_MP4[: 3 if is_mp4 else None]
    carried = {key: value for key, value in tags.items() if not key.upper().startswith(skipped)}
    if not is_mp4 and "name" in carried:
        carried["title"] = carried.pop("name")
    if container_format == "mov" and carried.get("language") in QUICKTIME_LANGUAGE:
        carried["language"] = QUICKTIME_LANGUAGE[carried["language"]]
    return carried


def needs_free_keys(container: InputContainer, container_format: str) -> bool:
    """Return whether tags of the file would be lost in MP4 or MOV under the names that players know, and none is such.

    Where the file has a title or a cover, those come first.
    """
    if container_format not in ("mp4", "mov"):
        return False
    tags = carried_tags(container.metadata, container_format)
    has_cover = any(stream.disposition & Disposition.attached_pic for stream in container.streams.video)
    if has_cover or SHOWN_BY_PLAYERS & {key.lower() for key in tags}:
        return False
    return bool(set(missing_tags(tags, container_format, "")) - set(missing_tags(tags, container_format, FREE_KEYS)))


def lost_tags(container: InputContainer, container_format: str) -> list[str]:
    """Return the names of tags of the file that a result of this format will not have."""
    if container_format == "gif":
        kept = {"comment"} if container.format.name == "gif" else set()
        return sorted(carried_tags(container.metadata, container_format).keys() - kept)
    flags = FREE_KEYS if needs_free_keys(container, container_format) else ""
    return missing_tags(carried_tags(container.metadata, container_format), container_format, flags)


def missing_tags(tags: dict[str, str], container_format: str, flags: str) -> list[str]:
    """Return which tags cannot be read back from a file of one black image with all of them."""
    written = io.BytesIO()
    options = {"movflags": flags} if flags else {}
    try:
        with av.open(written, "w", format=container_format, container_options=options) as output:
            write_image(output, tags)
        written.seek(0)
        with av.open(written) as result:
            kept = {key.lower() for key in result.metadata}
    except (av.FFmpegError, ValueError):
        return sorted(tags)
    return sorted(key for key in tags if key.lower() not in kept)


def write_image(output: OutputContainer, tags: dict[str, str]) -> None:
    stream = output.add_stream("libvpx-vp9" if output.format.name == "webm" else "mpeg4", rate=25)
    assert isinstance(stream, VideoStream)
    stream.width = stream.height = 16
    output.metadata.update(tags)
    frame = av.VideoFrame(16, 16, "yuv420p")
    frame.pts = 0
    output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
