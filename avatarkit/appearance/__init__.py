"""What a photo shows of a person, and what is painted where it shows nothing."""
