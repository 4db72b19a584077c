"""Store what a user asked for, so that the result can be put together without asking again."""

from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from osediff_video.encoding import Encoding
from osediff_video.options import VideoOptions

FRACTIONS = ("start_s", "end_s", "fps")


@dataclass(frozen=True)
class Order:
    """Hold what makes the plan of a video, but for where the result goes. source: absolute, as on the first machine."""

    source: Path
    scale: float
    encoding: Encoding
    options: VideoOptions


def order_values(order: Order) -> dict[str, Any]:
    """Return an order in JSON's types."""
    options = asdict(order.options)
    for name in FRACTIONS:
        options[name] = None if options[name] is None else str(options[name])
    encoding = asdict(order.encoding)
    return {"source": str(order.source), "scale": order.scale, "encoding": encoding, "options": options}


def order_from(values: dict[str, Any]) -> Order:
    """Return the order that `order_values` described. Raises KeyError, TypeError, ValueError."""
    options = dict(values["options"])
    for name in FRACTIONS:
        options[name] = None if options[name] is None else Fraction(options[name])
    encoding = Encoding(**values["encoding"])
    return Order(Path(values["source"]), values["scale"], encoding, VideoOptions(**options))
