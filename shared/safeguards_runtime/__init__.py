"""What only the services share: records, store, agenda, topology, settings. Never published."""
