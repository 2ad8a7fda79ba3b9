"""The notebooks run headless, and what is published of them."""
