"""The cluster: how it is reached and asked, what it can do, what it says, what one may do there."""
