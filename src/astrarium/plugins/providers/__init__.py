"""Providers of models: one file a kind of API."""
