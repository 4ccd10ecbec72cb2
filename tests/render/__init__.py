"""What the chart renders, without any cluster."""
