"""What a trained run says of new scans, and the folder that it is written to."""
