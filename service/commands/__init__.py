"""The command line's work: pictures and videos, classified by a service or in this process."""
