"""The `dar` command. One sub-command a file; heavy modules are imported when a sub-command runs, not before."""
