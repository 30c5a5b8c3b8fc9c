"""The guarded way out to addresses that customers give (`outbound`)."""
