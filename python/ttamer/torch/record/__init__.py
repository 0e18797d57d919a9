"""Traces from a network with exits: signals, losses, and costs as measured."""
