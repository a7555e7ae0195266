"""What a picture shows, as targets of the fit: landmarks, contour, rough depth."""
