"""Reads and writes bytes; knows no database."""
