"""Templates of dataset cards and the licence record of each database."""
