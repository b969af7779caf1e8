"""What all pages are made with: the form, markup, the theme, plots, and the wiring of events."""
