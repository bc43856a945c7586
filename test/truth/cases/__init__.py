"""The cases, grouped by subject; importing a module registers its cases."""
