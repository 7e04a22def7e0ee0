"""What integration tests and benchmarks share: real servers, namespaces, the guard."""
