"""`tollhouse`: the operator's door in a terminal.

Each command's module is imported when it is called, so that `--help` answers at once. Exit codes: 0 done,
1 our fault, 2 the call was wrong, 3 something it needs is away and the same call will work later.
"""

from ingress.cli.main import main

__all__ = ["main"]
