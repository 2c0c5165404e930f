"""Rules accept what they should, and refuse at the call what they should not, in words that name the argument."""

import numpy as np
import pytest

from helpers.check import above, at_least, checked, having, number, one_of, one_or_each, optional, weighted, whole
from helpers.images import ImageError, image_array

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "rule, good, bad",
    [
        (whole(1, 9), [1, 9, np.int64(3), np.array(3)], [0, 10, 1.5, 3.0, NAN, "3", None, True, [], {}]),
        (number(0, 1), [0, 1, 0.5, np.float32(0.5)], [-0.1, 1.1, NAN, INF, "0.5", None, True, [[1], [2, 3]]]),
        (number(0, below=1), [0, 0.9], [1, -1]),
        (at_least(2), [2, 1e9], [1.9, INF]),
        (above(0, 1), [0.1, 1], [0, 1.1]),
        (one_of("noise", None), ["noise", None], ["nois", 0, "None", ["noise"]]),
        (optional(whole()), [None, -3], ["None", 1.5]),
        (one_or_each(whole(1)), [2, [2, 3], (2,), np.array([4, 5])], [[], [0], ["a"], [[2]], "ab"]),
        (weighted(number()), ["a", ["a", "b"], {"a": -1}], [0, None, [1], {"a": "b"}, {"a": NAN}]),
        (having("add", "a recorder"), [{1}], [set, [], None]),
        (image_array(4), [np.full((4, 5, 3), 9.0), np.full((4, 5), 9)], ["china", None, 7, [1], np.zeros((3, 9, 3))]),
    ],
)
def test_rules(rule, good, bad):
    door = checked(argument=rule)(lambda argument=None: argument)
    for value in good:
        door(value)
    for value in bad:
        with pytest.raises(ValueError, match=r"argument(:| is .*; expected )"):
            door(argument=value)


def test_rules_return_the_value_to_use():
    assert type(whole()(np.int64(3))) is int and type(number()(3)) is float
    assert one_or_each(whole())((1, 2)) == [1, 2]
    assert weighted(number())("a") == {"a": 1.0} and weighted(number())(["a", "b", "a"]) == {"a": 1.0, "b": 1.0}
    assert weighted(number(), shared=True)(["a", "b"]) == {"a": 0.5, "b": 0.5}
    assert image_array()(np.full((2, 3), 9)).shape == (2, 3, 3)


def test_the_message_says_what_was_given_what_is_expected_and_the_closest_name():
    @checked(KeyError, size=above(0), init=one_of("content", "noise"))
    def paint(size=-1, init="content"):
        yield size

    with pytest.raises(KeyError, match=r"paint: size is 'large'; expected a number above 0\."):
        paint("large")  # though nothing asks for a step
    with pytest.raises(KeyError, match=r"init is 'nose'; expected one of 'content', 'noise' .did you mean 'noise'"):
        paint(init="nose")
    assert next(paint()) == -1  # a default is not checked


def test_an_error_of_its_own_keeps_its_class_and_gets_the_name():
    with pytest.raises(ImageError, match="picture: .*between 0 and 1.*Multiply it by 255"):
        checked(picture=image_array())(lambda picture: None)(np.full((4, 4, 3), 0.5))


def test_long_values_and_long_lists_are_cut():
    with pytest.raises(ValueError) as caught:
        checked(label=one_of(*map(str, range(500))))(lambda label: None)("x" * 500)
    assert len(str(caught.value)) < 300 and "(500 in all)" in str(caught.value)
    with pytest.raises(ValueError, match=r"an array of shape \(2, 3\)"):
        checked(count=whole())(lambda count: None)(np.zeros((2, 3)))
