"""qfl-sec: the security and privacy evaluation workbench for quantum federated learning."""

__version__ = "0.1.0"
