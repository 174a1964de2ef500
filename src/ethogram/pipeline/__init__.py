"""The spine: the only place where the rooms meet. One verb a module, of the same name as its command."""
