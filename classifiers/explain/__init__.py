"""What a recogniser sees: the places it judges by, and the input it likes best."""
