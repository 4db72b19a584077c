"""Define every error this project raises for a bad file, model or device. The command line catches the root, once.

OseDiffError
├── CheckpointError      a weight file or bundle that is damaged, foreign or of the wrong kind
├── ModelNotFoundError   a model name or folder that is not on this machine
├── DownloadError        a file that no source gives, or no room for it
├── ImageError           an image that cannot be read or written
├── MediaError           a video that cannot be read or written
├── OutputError          a target that exists, cannot be written, or equals its source
├── PresetError          a preset with an unknown key or a wrong value
├── OutOfMemoryError     not even the smallest tile of one frame fits
└── NotFiniteError       a model whose result is no number
"""


class OseDiffError(Exception):
    """Report any error about a bad file, model, device or target. Catch it to handle them all.

    The message is one line: what came, where, what was expected and what to do.
    """


class CheckpointError(OseDiffError):
    """Report weights or a bundle that are damaged, incomplete, or of another kind than the model needs."""


class ModelNotFoundError(OseDiffError):
    """Report a model, device or optional library that is not available on this machine."""


class DownloadError(OseDiffError):
    """Report a file that no source delivers, or that does not fit on the disk."""


class ImageError(OseDiffError):
    """Report an image that cannot be read or written."""


class MediaError(OseDiffError):
    """Report a video, a folder of frames or a list of shots or cuts that cannot be read or written."""


class OutputError(OseDiffError):
    """Report a target that exists already, cannot be written, or is the source itself."""


class PresetError(OseDiffError):
    """Report a preset that does not exist, or that has an unknown key or a wrong value."""


class OutOfMemoryError(OseDiffError):
    """Report that not even the smallest tile of one image fits in memory."""


class NotFiniteError(OseDiffError):
    """Report that the model's result is not a number.

    index: position of the image in its batch.
    where: what its user calls it, such as a frame and its time.
    """

    def __init__(self, index: int, where: str = "") -> None:
        super().__init__(
            f"{where or f'image {index + 1}'}: the model's result is not a finite number (NaN or infinity), in float32 "
            "too; the weights are damaged or do not belong together: osediff models verify, or choose another --model"
        )
        self.index = index
