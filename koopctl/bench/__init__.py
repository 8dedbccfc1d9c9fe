"""What reproduces every number the README quotes."""
