"""Benchmarks of encoders under one protocol, for this project's models and any Hugging Face encoder."""
