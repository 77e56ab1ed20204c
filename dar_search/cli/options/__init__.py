"""Options of commands, in groups, and what they make: settings, services, a dialogue."""
