"""Every sentence that the app says and that is not a field's help, by the page that says it."""
