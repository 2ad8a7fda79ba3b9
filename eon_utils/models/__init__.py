"""Networks, optical flow, and the weights that ship."""
