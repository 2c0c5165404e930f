"""Arguments checked once, at the door: one line beside a public function names what each of them may be.

    @checked(steps=whole(1), step_size=at_least(0), init=one_of("content", "noise"))
    def dream(image, steps=10, step_size=1.5, init="content"):
        ...

A wrong value raises when the function is called, a generator function included, and the message says what was given
and what was expected. Inside, the function trusts its arguments.
"""

import difflib
import functools
import inspect
import math
import numbers

import numpy as np


def checked(error=ValueError, /, **rules):
    """Check the arguments named in `rules` whenever the decorated function is called; a wrong one raises `error`.

    A rule is called with the value and returns the value to use. It raises `TypeError` or `ValueError`, whose text says
    what was expected, or an error of another class, whose text is a sentence of its own: its class is kept. Arguments
    that are left to their defaults are not checked.
    """

    def decorate(function):
        signature = inspect.signature(function)
        assert rules.keys() <= signature.parameters.keys(), f"{function.__qualname__} has no {rules.keys()}"
        owner = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def door(*positional, **named):
            bound = signature.bind(*positional, **named)
            for name, rule in rules.items():
                if name not in bound.arguments:
                    continue
                value = bound.arguments[name]
                try:
                    bound.arguments[name] = rule(value)
                except (TypeError, ValueError) as problem:
                    if type(problem) in (TypeError, ValueError):
                        raise error(f"{owner}: {name} is {short(value)}; expected {problem}.") from None
                    raise type(problem)(f"{owner}: {name}: {problem}") from None
            return function(*bound.args, **bound.kwargs)

        return door

    return decorate


def number(low=-math.inf, high=math.inf, *, above=None, below=None, whole=False):
    """Return a rule for finite numbers from `low` to `high`, or strictly `above` and `below`, perhaps whole ones."""
    parts = [f"from {low:g}" if low > -math.inf else "", f"up to {high:g}" if high < math.inf else ""]
    parts += [f"above {above:g}" if above is not None else "", f"below {below:g}" if below is not None else ""]
    expected = " ".join(["a whole number" if whole else "a number", *filter(None, parts)])

    def rule(value):
        kind = numbers.Integral if whole else numbers.Real
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        fits = isinstance(value, kind) and not isinstance(value, bool | np.bool_) and math.isfinite(value)
        if fits and low <= value <= high and (above is None or value > above) and (below is None or value < below):
            return int(value) if whole else float(value)
        raise ValueError(expected)

    rule.expected = expected
    return rule


def whole(low=-math.inf, high=math.inf):
    """Return a rule for whole numbers from `low` to `high`."""
    return number(low, high, whole=True)


def at_least(low):
    """Return a rule for finite numbers from `low` up."""
    return number(low)


def above(low, high=math.inf):
    """Return a rule for finite numbers above `low`, up to `high`."""
    return number(high=high, above=low)


def one_of(*names):
    """Return a rule for one of some names; a misspelt one is told the closest."""
    listed = ", ".join(map(repr, names[:20])) + (f", … ({len(names)} in all)" if len(names) > 20 else "")

    def rule(value):
        if isinstance(value, str | type(None)) and value in names:
            return value
        raise ValueError(f"one of {listed}{did_you_mean(value, names)}")

    rule.expected = f"one of {listed}"
    return rule


def did_you_mean(value, names):
    """Return " (did you mean ...?)" with the name that is closest to `value`; nothing if none is close."""
    close = difflib.get_close_matches(str(value), [str(name) for name in names], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def optional(rule):
    """Return a rule for what `rule` accepts, or None."""

    def either(value):
        return None if value is None else rule(value)

    return either


def one_or_each(rule):
    """Return a rule for one value that `rule` accepts, or a list of several; a list is returned as a list."""

    def several(value):
        if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1):
            if len(value) == 0:
                raise ValueError(f"{rule.expected}, or a list of such, not an empty one")
            return [rule(item) for item in value]
        return rule(value)

    return several


def weighted(rule, shared=False):
    """Return a rule for {name: number that `rule` accepts}, or names alone: each counts 1, or they share 1."""

    def weights(value):
        if isinstance(value, dict):
            return {name: rule(number) for name, number in value.items()}
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"a name, a list of names, or {{name: {rule.expected}}}")
        names = dict.fromkeys(names)
        return {name: 1 / len(names) if shared else 1.0 for name in names}

    return weights


def having(attribute, expected):
    """Return a rule for objects with this attribute, described to people as `expected`."""

    def rule(value):
        if isinstance(value, type) or not hasattr(value, attribute):
            raise TypeError(expected)
        return value

    return rule


def short(value, most=60):
    """Return `value` in a few words: its shape if it is an array, else its repr, cut where it is long."""
    if getattr(value, "shape", ()):
        return f"an array of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
