"""A customer's SQL and templates, run in a child process that can reach nothing.

sql         check a query, and run it over the customer's own records
velocity    fill in a template, row by row
parts       records made ready for a query
functions   which functions and types a query may use
process     starts a child, and stops it at its limits
jail        what a child does to itself before it reads any input
"""
