"""Use cases: what a caller may ask for, one module a noun. Each checks, decides, writes its intent in one commit and
wakes a loop; none waits for the work to be done. Called by the routes; knows no HTTP."""
