"""What a person does with labels: check them by ear, and order a library by them."""
