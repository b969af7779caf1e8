"""Pure functions from folders to what a page shows. No widgets here; tested without a browser."""
