"""What the cases share: the agent under test, cgroups, workloads, and the table of results."""
