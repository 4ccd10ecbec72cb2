"""Scenarios in a real cluster with real Ray."""
