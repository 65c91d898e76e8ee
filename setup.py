# Everything is in pyproject.toml; this file is for the tools that still look for a setup.py.
from setuptools import setup

setup()
