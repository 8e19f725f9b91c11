"""What tests of the whole product stand on: a real node process, its API, receivers that verify every signature."""
