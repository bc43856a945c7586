"""Builds the optional accelerator; everything else of the package is in pyproject.toml.

Reads the ring's memory map from the agent's own header, which is outside of this folder in a clone
and is copied into a source distribution. Without a compiler or Python.h the package goes without.
"""

import os
import sys

from setuptools import Extension, setup
from setuptools.command.sdist import sdist

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = os.path.join("scope", "ring_layout.h")
OWN_HEADER = os.path.join("lezea_monitor", "_rseq.h")


def folder_of_header() -> str:
    """Where HEADER is: beside this file in a source distribution, above it in a clone."""
    for folder in (os.path.join(HERE, "native"), os.path.join(os.path.dirname(HERE), "native")):
        if os.path.exists(os.path.join(folder, HEADER)):
            return folder
    return HERE  # nowhere: the extension is optional


class SourceDistribution(sdist):
    """With the headers: what `depends` names, not every setuptools takes along."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        self.mkpath(os.path.join(base_dir, "native", "scope"))
        source = os.path.join(folder_of_header(), HEADER)
        self.copy_file(source, os.path.join(base_dir, "native", HEADER))
        self.copy_file(os.path.join(HERE, OWN_HEADER), os.path.join(base_dir, OWN_HEADER))


accelerator = Extension(
    "lezea_monitor._accel",
    ["lezea_monitor/_accel.c"],
    include_dirs=[folder_of_header()],
    depends=[OWN_HEADER],
    libraries=["dl"],
    extra_compile_args=["-std=c11", "-O2", "-fno-plt", "-fvisibility=hidden"],
    define_macros=[("Py_LIMITED_API", "0x03090000")],
    py_limited_api=True,
    optional=True,
)
# Free-threaded builds have no stable ABI.
has_stable_abi = sys.implementation.name == "cpython" and "t" not in sys.abiflags
setup(
    ext_modules=[accelerator] if has_stable_abi else [],
    options={"bdist_wheel": {"py_limited_api": "cp39"}} if has_stable_abi else {},
    cmdclass={"sdist": SourceDistribution},
)
