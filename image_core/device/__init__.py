"""Plan memory, choose a precision and estimate times for the device at hand."""
