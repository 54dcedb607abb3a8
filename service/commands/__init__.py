"""What the command line does: pictures and videos classified, by a service or in this process."""
