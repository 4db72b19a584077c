"""Define how a job is shared by workers. Imports only the standard library, so that `--help` is instant."""

import ipaddress
import socket
from dataclasses import dataclass

from image_core.errors import OutputError

CORES_EACH = 4
"""Of a machine in a cluster, for each worker without an accelerator."""


@dataclass(frozen=True)
class FarmOptions:
    """Hold the settings for work by several workers. Raises ValueError for a value out of range.

    workers: how many; None is as many as the cluster holds.
    cluster: address HOST:PORT of a Ray cluster, or "auto" for that of this machine; None starts one that ends with the
        job.
    cores: of each worker without an accelerator; None shares a single machine evenly, and is 4 in a cluster.
    ship_input: send inputs to the machines of the cluster instead of reading them there under the same path.
    mixed: machines may differ in what decides bits.
    public: the address may be a public one.
    """

    workers: int | None = None
    cluster: str | None = None
    cores: int | None = None
    ship_input: bool = False
    mixed: bool = False
    public: bool = False

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("cores", self.cores)):
            if value is not None and not 1 <= value <= 10_000:
                raise ValueError(f"{name} must be from 1 to 10000, got {value}")
        if self.workers is None and self.cluster is None:
            raise ValueError("work by several workers needs their number, or the address of a cluster")


def check_address(address: str, public: bool = False, patience_s: float = 3.0) -> None:
    """Refuse an address of a cluster that is none, that nobody answers at, or that anybody in the world could reach.

    Raises OutputError.
    """
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdigit():
        raise OutputError(
            f"--cluster {address}: expected HOST:PORT of a Ray cluster that this machine is part of, or auto; start it "
            "with ray start, and run this command on one of its machines"
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, OverflowError) as error:
        raise OutputError(f"--cluster {address}: there is no machine of this name ({error})") from error
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    if not public and (open_ones := [one for one in sorted(addresses) if ipaddress.ip_address(one).is_global]):
        raise OutputError(
            f"--cluster {address}: {open_ones[0]} is a public address, and a Ray cluster runs whatever is sent to it; "
            "use a private network (docs/farm.md), or add --allow-public"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=patience_s).close()
    except (OSError, OverflowError) as error:
        raise OutputError(f"--cluster {address}: no cluster answers there ({error})") from error
