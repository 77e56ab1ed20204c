"""`make soak`: the whole system under mixed load, with every fault in turn, and everything back in place afterwards."""
