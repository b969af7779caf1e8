"""What happens when a widget is used: values from the browser in, values for widgets out."""
