"""Tests of the Python client, against fake_agent.py: real sockets, real descriptors."""
