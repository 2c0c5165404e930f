"""Settings of a film and of synthetic images that are no numbers, out of range, or of the wrong kind."""

import pytest

from helpers import datasets, synthetic
from helpers.animation import GifRecorder

NAN = float("nan")
REFUSED = {
    "every": (lambda value: GifRecorder("never.gif", every=value), (0, 1.5, NAN, "3", None)),
    "fps": (lambda value: GifRecorder("never.gif", fps=value), (0, 51, NAN, "3")),
    "hold": (lambda value: GifRecorder("never.gif", hold=value), (-1, 601, NAN)),
    "max_bytes": (lambda value: GifRecorder("never.gif", max_bytes=value), (0, NAN, "1")),
    "size": (lambda value: GifRecorder("never.gif", size=value), (0, 1.5, "3")),
    "source": (datasets.load_mnist, (0, None, [], NAN, "lokal")),
    "train": (synthetic.digits, (-1, 1.5, "3", None)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_value_is_refused_in_one_line(name):
    call, values = REFUSED[name]
    for value in values:
        with pytest.raises(ValueError, match=name) as caught:
            call(value)
        assert "\n" not in str(caught.value)
