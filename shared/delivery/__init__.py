"""Getting what a run wrote to the customer: one package a connector."""
