"""The protocol: who is tested by whom, against what, and what may be said of it afterwards."""
