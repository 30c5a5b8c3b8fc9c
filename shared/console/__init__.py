"""The console: a web page for those who run exports, batches, jobs and datasets."""
