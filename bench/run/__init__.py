"""Carries out a plan and keeps what is finished."""
