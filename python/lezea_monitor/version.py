"""The client's version, read by packaging and sent in `hello`."""

VERSION = "0.1.0"
