"""Drawn by code: what notebooks, reports and the README show."""
