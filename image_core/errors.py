"""Every error this project raises for a bad file, model or device. The command line catches the root, once.

OseDiffError
├── CheckpointError      a weight file or bundle that is damaged, foreign or of the wrong kind
├── ModelNotFoundError   a model name or folder that is not on this machine
├── DownloadError        a file that no source gives, or no room for it
├── ImageError           an image that cannot be read or written
├── MediaError           a video that cannot be read or written
├── OutputError          a target that exists, cannot be written, or equals its source
└── OutOfMemoryError     not even the smallest tile of one frame fits
"""


class OseDiffError(Exception):
    """Root of the tree. The message says what came, where, what was expected and what to do."""


class CheckpointError(OseDiffError):
    pass


class ModelNotFoundError(OseDiffError):
    pass


class DownloadError(OseDiffError):
    pass


class ImageError(OseDiffError):
    pass


class MediaError(OseDiffError):
    pass


class OutputError(OseDiffError):
    pass


class OutOfMemoryError(OseDiffError):
    pass
