"""Figures, tables and checks that one chapter has: a module for each notebook, named like it.

Whoever edits a chapter opens one notebook and one small file. No chapter imports another.
"""
