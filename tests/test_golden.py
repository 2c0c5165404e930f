"""The bundled networks are the files that they were, and see in three photographs what they saw.

After a network was trained again, `python tests/test_golden.py` prints its row of the table.
"""

import hashlib

import numpy as np
import pytest

from helpers import backbones
from helpers.images import sample_image

BLOCKS = ("block1_conv2", "block2_conv2", "block3_conv2", "block4_conv2", "block5_conv2")
GOLDEN = {  # network: SHA-256, what preprocess makes of black and white, {photograph: (class, mean features by block)}
    "mini_vgg": (
        "aef33929a41d58d88e6121d5dd3cecf568498e11cd8bf49649ab9bc810594f90",
        [[-2.1177, -1.9911, -1.7728], [2.2487, 2.3753, 2.5937]],
        {
            "china": ("beacon, lighthouse", [0.9017, 0.9608, 0.9125, 0.9731, 0.9351]),
            "flower": ("pomegranate", [0.9019, 1.0059, 0.9941, 1.0593, 0.7839]),
            "grace_hopper": ("academic gown", [0.9871, 1.1318, 1.1091, 1.2129, 0.8864]),
        },
    ),
    "mini_vgg_robust": (
        "0323e81c06f3770e159bc95a620af9af6e998de5c94519f188f18150447600e1",
        [[-2.1177, -1.9911, -1.7728], [2.2487, 2.3753, 2.5937]],
        {
            "china": ("beacon, lighthouse", [0.9211, 0.8733, 0.8096, 0.8921, 0.9057]),
            "flower": ("brain coral", [0.9981, 1.0234, 1.0991, 1.2586, 0.9567]),
            "grace_hopper": ("academic gown", [1.0263, 1.236, 1.3119, 1.3032, 0.9211]),
        },
    ),
}


def measured(name):
    """Return a network's row."""
    digest = hashlib.sha256((backbones.BUNDLED / f"{name}.weights.h5").read_bytes()).hexdigest()
    classifier, backbone = backbones.load_classifier(name), backbones.load_backbone(name)
    extract, seen = backbones.feature_extractor(backbone, BLOCKS), {}
    for photograph in ("china", "flower", "grace_hopper"):
        image = sample_image(photograph, shape=(96, 96))
        ((best, _),) = classifier.top(image, 1)
        features = extract(backbone.preprocess(image)[None])
        seen[photograph] = best, [round(float(np.mean(features[block])), 4) for block in BLOCKS]
    black_and_white = backbone.preprocess(np.array([[[0, 0, 0], [255, 255, 255]]]))[0]
    return digest, black_and_white.round(4).tolist(), seen


@pytest.mark.parametrize("name", GOLDEN)
def test_a_bundled_network_is_what_it_was(name):
    digest, black_and_white, seen = measured(name)
    assert digest == GOLDEN[name][0]
    np.testing.assert_allclose(black_and_white, GOLDEN[name][1], atol=2e-4)
    for photograph, (best, features) in GOLDEN[name][2].items():
        assert seen[photograph][0].startswith(best), photograph
        np.testing.assert_allclose(seen[photograph][1], features, rtol=0.01, err_msg=photograph)


def test_every_bundled_network_is_in_the_table():
    assert {path.name for path in backbones.BUNDLED.glob("*.h5")} == {f"{name}.weights.h5" for name in GOLDEN}


if __name__ == "__main__":
    for name in GOLDEN:
        print(name, *measured(name), sep="\n")
