"""Kills, hangs, drains and cuts real processes under live calls, and judges afterwards what was heard and stored."""
