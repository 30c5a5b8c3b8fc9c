"""Work orders: the record that is exported, how it is kept, and the use cases that change it."""
