"""The cases, one a module: `check(bench)` compares and tells the report. A new file is a new case."""
