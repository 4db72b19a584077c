"""Read and write files so that nothing is half written and nothing hostile is believed."""
