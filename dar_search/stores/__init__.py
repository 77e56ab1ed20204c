"""The stores: adapters of the port ImageIndex, and what they need around them."""
