"""The harness behind ./scripts: a real kind cluster, real Ray, and the chart in it."""
