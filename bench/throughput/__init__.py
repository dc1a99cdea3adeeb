"""Messages per second and CPU per message of Postfix with different milters behind it; `python -m bench.throughput`."""
