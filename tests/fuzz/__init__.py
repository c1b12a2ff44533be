"""A fuzzer of the command line and of every file type that it reads; ``docs/fuzzing.md`` describes it."""
