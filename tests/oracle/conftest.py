"""What is compared with files of ../shared, which not every checkout has; tests/test_shared.py says so there."""

from tests.conftest import SHARED

collect_ignore_glob = [] if SHARED.is_dir() else ["test_*.py"]
