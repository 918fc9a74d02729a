"""Connections to the outside: opened with a deadline, ended with a reason, tried again in due time."""
