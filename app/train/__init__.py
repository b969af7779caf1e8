"""The Train tab: settings, and the run that is shown."""
