"""Every verb a person or a program may do: permission, rules, transaction. API, CLI and flows all call this."""
