"""Compiled inner loops of a control tick, used where numba is installed; everything works without them, in numpy.

`kernels()` returns them, or None. They are made when it is first called, which is when a network is first evaluated, at
the latest in a law's design: numba takes half a second to import and, once a machine, about twenty seconds to compile.
Its cache lies in NUMBA_CACHE_DIR, beside these files or in the user's cache folder, whichever can be written first. The
environment variable KOOPCTL_KERNELS=numpy switches the kernels off.

A kernel stands in one file with everything it calls, helpers first. Sums keep their order and nothing is approximated:
the numbers are numpy's to 1e-12.
"""

from koopctl.kernels.loading import Kernels, kernels

__all__ = ["Kernels", "kernels"]
