"""Jobs: records that are imported and exported on demand."""
