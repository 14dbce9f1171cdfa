"""What can be asked, one file a subject; each is a thin shell."""
