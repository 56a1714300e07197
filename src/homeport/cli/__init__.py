"""The command line: parse, call the client, print. Nothing here decides; modules that cost time to import are imported
inside the commands that need them, so that `homeport --help` stays fast."""
