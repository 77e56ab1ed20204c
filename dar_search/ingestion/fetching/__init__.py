"""Pictures from the web, without reaching what is not for them: addresses, connections, politeness."""
