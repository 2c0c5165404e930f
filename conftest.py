"""What strict nbval must not compare letter by letter: pictures, and the texts that stand for them."""

import pytest

SKIPPED = ("image/gif", "image/svg+xml", "stderr")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    """Extend what nbval's collector skips; with tags, each notebook says itself which cells are compared."""
    collected = yield
    for collector in collected if isinstance(collected, list) else [collected]:
        if hasattr(collector, "skip_compare"):
            collector.skip_compare += SKIPPED
    return collected
