"""The command line: parses arguments, prints, and sets the exit code; a module for each task.

Nothing else in the package prints results, parses arguments or ends the process. What a task does is in `tasks`.
"""
