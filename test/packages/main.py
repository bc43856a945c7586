"""The packages of build/packages/, installed and used as strangers do: `npm run package && npm run test:packages`.

The npm tarball with nothing on the PATH but Node.js and npm and without a network, the wheel in a
virtual environment, the Debian package unpacked (installing it on a machine of its own is the boot
test's). What the machine lacks is skipped, and says so.
"""

import os
import sys
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    sys.path.insert(0, HERE)
    suite = unittest.defaultTestLoader.discover(HERE, pattern="test_*.py")
    result = unittest.TextTestRunner(verbosity=2 if "-v" in sys.argv else 1).run(suite)
    sys.exit(not result.wasSuccessful())
