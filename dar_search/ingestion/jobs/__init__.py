"""Jobs: their data, the port of their ledger and its rows, leases, the sweeper, what a run reports."""
