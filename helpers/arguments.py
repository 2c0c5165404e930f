"""What callers pass, checked where it comes in: one line says what was given and what was expected.

Unchecked, a text in the place of a number ends in an error deep inside NumPy, and a NaN in a picture of nothing.
"""

import difflib
import math
import os
from numbers import Real
from pathlib import Path

import numpy as np


def number(name, value, low=None, high=None, *, above=None, below=None, whole=False, error=ValueError):
    """Return `value` as a float, or as an int if `whole`, if it is one finite number in its range.

    Args:
        name: what the argument is called.
        value: what was given. NumPy's numbers count too, and 3.0 is whole; True and False are no numbers.
        low, high: the least and the largest that it may be.
        above, below: what it must not reach.
        whole: whether it must be a whole number.
        error: the exception that is raised otherwise.
    """
    plain = value.item() if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 else value
    fits = isinstance(plain, Real) and not isinstance(plain, bool) and math.isfinite(plain)
    words = "a whole number" if whole else "a finite number"
    for word, limit, holds in (
        ("from", low, lambda: plain >= low),
        ("above", above, lambda: plain > above),
        ("to", high, lambda: plain <= high),
        ("below", below, lambda: plain < below),
    ):
        if limit is not None:
            words, fits = f"{words} {word} {limit}", fits and holds()
    if not fits or (whole and plain != int(plain)):
        raise error(f"{name} must be {words}, got {short(value)}.")
    return int(plain) if whole else float(plain)


def numbers(name, values, count, of, **limits):
    """Return a list of `count` numbers, one for each of `of` (a word): those given, or the one given for all.

    `limits` are those of `number`.
    """
    if not isinstance(values, list | tuple | np.ndarray) or np.ndim(values) == 0:
        return [number(name, values, **limits)] * count
    if len(values) != count:
        raise ValueError(f"{name} must be one number, or a list of one for each of {count} {of}, got {short(values)}.")
    return [number(f"each of {name}", value, **limits) for value in values]


def sides(name, shape, error=ValueError):
    """Return `(height, width)` in whole pixels from 1."""
    if not isinstance(shape, list | tuple | np.ndarray) or np.shape(shape) != (2,):
        raise error(f"{name} must be (height, width) in pixels, got {short(shape)}.")
    return tuple(number(side, value, 1, whole=True, error=error) for side, value in zip(SIDES, shape, strict=True))


def did_you_mean(name, valid):
    """Return a sentence, with a space before it, that gives the name closest to `name`; empty if none is close."""
    close = difflib.get_close_matches(str(name), [str(one) for one in valid], 1, 0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def path(name, value, error=ValueError):
    """Return a `Path`."""
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise error(f"{name} must be the path of a file, got {short(value)}.")
    return Path(value)


def having(name, value, attribute, expected):
    """Return `value` if it has the attribute that what was `expected` (a phrase) would have."""
    if not hasattr(value, attribute) or isinstance(value, type):
        raise ValueError(f"{name} must be {expected}, got {short(value)}.")
    return value


SIDES = ("height", "width")


def short(value, most=80):
    """Return a value as an error message shows it: an array by its shape, the rest as Python writes it, cut off."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
