"""Pictures of any mode -> RGB as a person sees them. Light: decoder processes import it, and load no model library."""
