"""How hard the workbench is to break, as a table of figures with their targets.

    python -m tests.hardness [FOLDER…]     every line in full (make hardness); the files of FOLDER are read too
    python -m tests.hardness --quick       as pytest runs them (make test)

To add a line: write a function that takes `table.Options` and returns its figures, and list it in `lines.LINES`.
"""
