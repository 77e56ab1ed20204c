"""The embedded store and ledger: one SQLite file, with keyword search and an exact vector scan."""
