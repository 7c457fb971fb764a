"""The peers: each module does the work of the benchmarks the way that peer does it best."""
