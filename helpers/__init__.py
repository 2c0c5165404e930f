"""What the notebooks share: one module per noun, imported one by one (`from helpers.losses import gram_matrix`).

Importing this package loads no TensorFlow. It only sets two environment variables that TensorFlow reads once, when it
is imported, and leaves alone what is set already.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no log line of TensorFlow's C++ side
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # off by default on CPUs without AVX-512
