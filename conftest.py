"""The order of the tests, and what strict nbval must not compare letter by letter: pictures, and the texts for them."""

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


def pytest_collection_modifyitems(items):
    """Put the browser's tests last: Playwright keeps an event loop in this thread, which others would run into."""
    items.sort(key=lambda item: "browser" in item.path.parts)
