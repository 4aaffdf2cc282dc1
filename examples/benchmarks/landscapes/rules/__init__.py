"""The rules: each file is one, or several of one package.

A file holds `rule(cell)`, or `RULES`, a dictionary of such functions by name. A rule returns a
learning rate, or `None` where it has no answer. A rule that has something to fit names it
`fit(others)`: it is called once for each task with the landscapes of all other tasks, and what it
returns is handed to the rule as its second argument.
"""

from __future__ import annotations
