"""What every image build took, what came out of it, and how that compares with before."""
