"""What a photo shows of a person: which pixel shows which part of them."""
