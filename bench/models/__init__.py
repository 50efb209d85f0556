"""Backbones, how a network is cut into features and head, and what a batch shares of both."""
